"""easy-VQA (Victor Zhou, 2019; MIT): questions about one shape of one colour, as its package has them."""

from pathlib import Path
from typing import Any

from xfm.core.errors import UserError
from xfm.data.records import is_text
from xfm.evaluation.benchmarks.read.corpus import Corpus
from xfm.evaluation.benchmarks.read.readers import read_json
from xfm.tasks.rows import Question

HELD_OUT = 60
"""Pictures of the training split, the last ones, that choose between the looks."""
COLOURS = frozenset({"black", "blue", "brown", "gray", "green", "red", "teal", "yellow"})
SHAPES = frozenset({"circle", "rectangle", "triangle"})


def read_easy_vqa(folder: Path) -> Corpus[Question]:
    """Official questions of `train/` and `test/`, of the kinds colour, shape and presence."""
    rows = _split(folder / "train")
    pictures = list(dict.fromkeys(row.image for row in rows))
    held = set(pictures[max(1, len(pictures) - HELD_OUT) :])
    valid = [row for row in rows if row.image in held]
    train = [row for row in rows if row.image not in held]
    return Corpus(train, {"validation": valid, "test": _split(folder / "test")})


def _split(folder: Path) -> list[Question]:
    path = folder / "questions.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: copy or link the data folder of the package easy-vqa")
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: not a list of questions; install the package again")
    return [_question(row, number, path) for number, row in enumerate(rows)]


def _question(row: Any, number: int, path: Path) -> Question:
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
