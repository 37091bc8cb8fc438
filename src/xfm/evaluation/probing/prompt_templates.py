"""Templates of prompts: the lists of the package, or a text file. Nothing here imports torch."""

import re
from importlib import resources
from pathlib import Path

import yaml

from xfm.core.errors import UserError, explained
from xfm.core.files import read_text, reading

SLOT = "{}"


def load_templates(name: str) -> list[str]:
    """Templates of a list of the package, or of a text file with a template a line."""
    path, package = Path(name), resources.files("xfm.evaluation.probing")
    shipped = yaml.safe_load((package / "prompts" / "prompts.yaml").read_text("utf-8"))
    if name in shipped:
        return shipped[name]
    if not path.suffix and not path.is_file():
        known = ", ".join(shipped)
        raise UserError(f"there are no templates {name!r}: take {known}, or name a text file")
    templates = _lines(path)
    for number, template in templates.items():
        if SLOT not in template:
            raise UserError(f"{path}:{number}: the template has no {SLOT} for the name of the class; add it")
    if not templates:
        raise UserError(f"{path} holds no templates; write one a line, such as 'a photo of a {SLOT}'")
    return [*templates.values()]


def prompt(template: str, name: str) -> str:
    """A template with a class's name; words before the place that the name brings along stand once.

    Example:
        >>> prompt("a photo of a {}", "an owl"), prompt("This is a photo of {}.", "a photo of an owl")
        ('a photo of an owl', 'This is a photo of an owl.')
    """
    text, *rest = template.split(SLOT)
    own = _any_article(name)
    for after in rest:
        before = _any_article(text)
        most = min(len(own) - 1, len(before)) if text[-1:].isspace() else 0
        if twice := max((n for n in range(1, most + 1) if before[-n:] == own[:n]), default=0):
            text = text[: [word.start() for word in re.finditer(r"\S+", text)][-twice]]
        text += name + after
    return text


def _any_article(text: str) -> list[str]:
    return ["a" if word in ("an", "the") else word for word in text.casefold().split()]


def _lines(path: Path) -> dict[int, str]:
    with reading(path), explained(f"{path} is not UTF-8", "save it as UTF-8", UnicodeDecodeError):
        lines = read_text(path, encoding="utf-8-sig").splitlines()
    return {number: line.strip() for number, line in enumerate(lines, start=1) if line.strip()}


def read_names(path: Path, separator: str = "=") -> dict[str, str]:
    """Class names by label, from lines LABEL=NAME."""
    names: dict[str, str] = {}
    for number, line in _lines(path).items():
        label, _, name = (part.strip() for part in line.partition(separator))
        if not (label and name):
            raise UserError(f"{path}:{number}: not a line LABEL{separator}NAME; mend it")
        names[label] = name
    return names
