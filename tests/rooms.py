"""The rooms of the package: their order, what each imports, and the table that is made from both.

`make map` writes the table of docs/architecture.md and the rule of CONTRIBUTING.md anew, and
`tests/test_architecture.py` says when that is due.
"""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "xfm"
# A room imports only rooms before it.
_ORDER = """core config data executors metrics world models method objectives training tasks reports corpora
    finetuning evaluation inference search serving cli __main__"""
ORDER = tuple(_ORDER.split())


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def modules(room: str) -> list[Path]:
    return sorted((SOURCE / room).rglob("*.py")) or [SOURCE / f"{room}.py"]


@cache
def imported(path: Path) -> frozenset[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return frozenset(found)


@cache
def below(room: str) -> frozenset[str]:
    names = frozenset[str]().union(*map(imported, modules(room)))
    return frozenset(name.split(".")[1] for name in names if name.startswith("xfm.")) - {room}


@cache
def reached(room: str) -> frozenset[str]:
    return below(room).union(*map(reached, below(room)))


def arrows(room: str) -> list[str]:
    """The imports of a room that do not follow from others."""
    return sorted(other for other in below(room) if not any(other in reached(near) for near in below(room)))


def sentence(room: str) -> str:
    path = SOURCE / room / "__init__.py"
    text = ast.get_docstring(ast.parse((path if path.exists() else SOURCE / f"{room}.py").read_text())) or ""
    return text.partition("\n")[0].replace(" |", ",")  # it becomes a cell of a table


def between(text: str, new: str) -> str:
    marks = r"(<!-- rooms -->).*?(<!-- /rooms -->)"
    return re.sub(marks, lambda found: found[1] + new + found[2], text, flags=re.DOTALL)


def due() -> dict[Path, str]:
    page, rule = ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"
    table = ["| room | what is in it | imports |", "|---|---|---|"]
    for room in ORDER:
        imports = ", ".join(f"`{one}`" for one in arrows(room))
        table += [f"| `{room}` | {sentence(room)} | {imports} |"]
    return {
        page: between(page.read_text(), "\n" + "\n".join(table) + "\n"),
        rule: between(rule.read_text(), " <- ".join(ORDER)),
    }


if __name__ == "__main__":
    for path, text in due().items():
        path.write_text(text)
