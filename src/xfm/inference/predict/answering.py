"""Rows and their answers, in order, with the pictures that are drawn of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xfm.config.task_spec import Holds
from xfm.errors import UserError
from xfm.files import writing
from xfm.inference.base import Pipeline
from xfm.inference.drawing import draw_boxes
from xfm.inference.items import InputError
from xfm.inference.picture_inputs import read_original
from xfm.inference.predict.reading import InputRow
from xfm.results_folder import Maker, free_name, sign, signed_by, unused


def answered_rows(
    pipe: Pipeline[Any, Any],
    rows: Iterable[InputRow],
    options: Any,
    skip: Callable[[InputRow, str], bool],
    draw: Path | None,
    refused: Callable[[str], UserError] = UserError,
) -> Iterator[tuple[InputRow, Any, str | None]]:
    """Rows with their answers, and what is to be said against these, in order.

    Args:
        pipe: the pipeline.
        rows: what is answered.
        options: of the task.
        skip: asked whether a row that cannot be answered, and why, may be passed over.
        draw: folder for the pictures of a grounding with their boxes.
        refused: what is raised where a row may not be passed over.
    """
    waiting: dict[int, InputRow] = {}
    warnings: dict[int, str] = {}

    def given() -> Iterator[Any]:
        for number, row in enumerate(rows):
            waiting[number] = row
            yield row.given

    def bad(number: int, reason: str) -> bool:
        return skip(waiting[number], reason) and waiting.pop(number) is not None

    try:
        for number, answer in pipe.numbered(given(), options, bad, warnings.__setitem__):
            row = waiting.pop(number)
            if draw is not None:
                _draw(pipe, row, answer, draw)
            yield row, answer, warnings.pop(number, None)
    except InputError as error:
        raise refused(waiting[error.number].says(error.reason)) from error


def claim(draw: Path, answers: str, about: str) -> None:
    """Keep the pictures of others, which may be called 1.jpg too, from being drawn over.

    Args:
        draw: folder for the pictures.
        answers: tells the answers from others.
        about: them, in words.

    Raises:
        UserError: the folder holds something else; names one that is free.
    """
    maker, before = Maker("predict", {"answers": answers}, about), signed_by(draw)
    if draw != unused(draw) and not (before and before.made(maker)):
        raise UserError(
            f"--draw {draw} holds something else than the pictures of {about}; name another folder, such as "
            f"{free_name(draw)}"
        )
    sign(draw, maker)


def _draw(pipe: Pipeline[Any, Any], row: InputRow, answer: Any, folder: Path) -> None:
    assert isinstance(row.given, Mapping)
    shown = next(field.name for field in pipe.spec.inputs if field.holds is Holds.PICTURE)
    drawn = draw_boxes(read_original(row.given[shown], pipe.engine.urls).pixels, [answer])
    path = folder / f"{row.number}.jpg"
    with writing(path, "and run the same command again"):
        folder.mkdir(parents=True, exist_ok=True)
        drawn.save(path, quality=90)
