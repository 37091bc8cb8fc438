"""easy-VQA (Victor Zhou, 2019; MIT): questions about one shape of one colour, as its package has them."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xfm.data.records import is_text
from xfm.errors import UserError
from xfm.reproduce.files.readers import read_json
from xfm.tasks.rows import Question

SPLITS = ("train", "test")
COLOURS = frozenset({"black", "blue", "brown", "gray", "green", "red", "teal", "yellow"})
SHAPES = frozenset({"circle", "rectangle", "triangle"})


def package_folder() -> Path:
    """The data folder of the installed package; none of its code is run.

    Raises:
        UserError: it is not installed.
    """
    found = find_spec("easy_vqa")
    places = found.submodule_search_locations if found else None
    if not places:
        raise UserError("easy-VQA is not installed: pip install easy-vqa, or name the folder of its files")
    return Path(next(iter(places))) / "data"


def read_easy_vqa(folder: Path | None = None) -> dict[str, list[Question]]:
    """The official splits `train` and `test`.

    Args:
        folder: holds `train/` and `test/`, each with `questions.json` and `images/`; the installed package's
            data if not given.

    Returns:
        Questions of each split, of the kinds `colour`, `shape` and `presence`; their keys are the rows'
        numbers from 0.

    Raises:
        UserError: the package is not installed, a file is missing, or a row is not as published.
    """
    folder = folder or package_folder()
    return {split: _split(folder / split) for split in SPLITS}


def _split(folder: Path) -> list[Question]:
    path = folder / "questions.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: pip install easy-vqa, or name the folder of its files")
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: not a list of questions; install the package again")
    return [_question(row, number, path) for number, row in enumerate(rows)]


def _question(row: Any, number: int, path: Path) -> Question:
    """A row `[question, answer, number of the picture]`."""
    where = f"{path}: row {number + 1}"
    if not isinstance(row, list) or len(row) != 3:
        raise UserError(f"{where} is not [question, answer, picture]; install the package again")
    question, answer, picture = row
    if not is_text(question) or not question.strip() or not isinstance(answer, str):
        raise UserError(f"{where}: question or answer is not a text; install the package again")
    if not isinstance(picture, int) or isinstance(picture, bool) or picture < 0:
        raise UserError(f"{where}: the picture {picture!r} is not a number; install the package again")
    image = path.parent / "images" / f"{picture}.png"
    return Question(image, question, answer, _kind(answer, where), key=number)


def _kind(answer: str, where: str) -> str:
    if answer in ("yes", "no"):
        return "presence"
    if answer in COLOURS:
        return "colour"
    if answer in SHAPES:
        return "shape"
    raise UserError(f"{where}: {answer!r} is none of the 13 answers; install the package again")
