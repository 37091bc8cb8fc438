"""Answers for every row of a file or folder."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.config.tables import sheet_of
from xfm.config.task_spec import Holds
from xfm.config.tasks import EMBED
from xfm.core.errors import UserError, amount, printable, refuse_none
from xfm.core.files import writing
from xfm.core.results_folder import Maker, digest, free_name, sign, signed_by, unused
from xfm.data.left_out import LeftOut
from xfm.data.tables import InMemory, Table, as_table
from xfm.inference.base import Pipeline
from xfm.inference.drawing import draw_boxes
from xfm.inference.gallery import Gallery, Retrieval
from xfm.inference.input_parsing import InputError
from xfm.inference.picture_inputs import read_original
from xfm.inference.predict.output import (
    ANSWER,
    ROW,
    WARNING,
    answer_line,
    bad_file,
    gallery_file,
    open_answers,
    settings_file,
    tell_partial,
)
from xfm.inference.predict.reading import InputRow, Reading, RowSource, known_path
from xfm.inference.predict.sources import FolderRows, OneRow, open_rows


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        answered: rows that this run answered.
        before: rows that were answered already.
        skipped: rows that could not be answered, of all runs.
        partial: rows that this run answered by a picture of which a part only could be decoded.
        first_bad: the first of them with the reason, empty where there is none.
        gallery: candidates of a gallery that could not be read, in words.
    """

    answered: int
    before: int
    skipped: int
    partial: int = 0
    first_bad: str = ""
    gallery: str = ""


def predict(
    pipe: Pipeline[Any, Any],
    source: Table | RowSource,
    out: Path | str,
    options: Any = None,
    *,
    reading: Reading | None = None,
    gallery: Path | str | None = None,
    max_bad: int | None = None,
    restart: bool = False,
    draw: Path | str | None = None,
    progress: bool = False,
) -> Outcome:
    """Answer every row of a file or folder into a JSON-lines file, or go on with a run that was stopped.

    A line of the output is `{"row": NUMBER, KEPT COLUMNS..., "prediction": ANSWER}`, in the input's order,
    with a `"warning"` where a picture's file ends early and is used as far as it goes. Pictures of a folder
    have their path as `image` instead of a number. The file is only ever appended to: a run that is killed,
    at whatever moment, goes on when it is started again, and no row is there twice or missing. What its
    answers depend on stands in OUT.run.json beside it.

    Args:
        pipe: the pipeline.
        source: a table (a file, or rows in memory as `xfm.finetune` takes them), a folder of pictures, or
            rows of another source.
        out: the JSON-lines file to write.
        options: of the task.
        reading: how the table is read; by default every field stands in a column of its own name.
        gallery: for retrieval, the candidates: a folder of pictures, or a table with a column image or text.
        max_bad: rows that cannot be answered to log in OUT.bad.jsonl and pass over at most, those of earlier
            runs among them (see `xfm.data.left_out`); 0 ends the run at the first.
        restart: throw away what `out` holds.
        draw: folder for the pictures of a grounding, each row's with its box, under the row's number.
        progress: show a bar.

    Raises:
        UserError: too many rows cannot be answered (the rows before the last of them are there), `out` holds
            answers of other settings, or a file cannot be read or written.
    """
    refuse_none(pipe=pipe, source=source, out=out)
    out = Path(out)
    reading = reading or Reading(pipe.spec.inputs, urls=pipe.engine.urls is not None)
    table = None if isinstance(source, RowSource) else as_table(source, "source")
    rows = source
    if table is not None:
        rows = open_rows(table if isinstance(table, InMemory) else Path(table), reading)
    assert isinstance(rows, RowSource)
    options = pipe.spec.options() if options is None else options
    if taken := {ROW, ANSWER, WARNING} & set(reading.keep):
        raise UserError(f"--keep {taken.pop()}: answers have a field of that name; rename the column")
    if draw is not None and not pipe.spec.draws:
        raise UserError(f"--draw draws the boxes of a grounding, and {pipe.spec.name} has none; leave it out")
    files = (
        [sheet_of(table)[0]]
        if isinstance(table, str | Path)
        else rows.files
        if isinstance(rows, OneRow)
        else []
    )
    refuse_to_overwrite([*files, *([] if gallery is None else [Path(gallery)])], out)
    settings = _settings(pipe, rows.known_by(), reading, options, gallery)
    candidates, said = LeftOut(max_bad), ""
    if isinstance(pipe, Retrieval) and gallery is not None:
        pipe.searched = read_gallery(pipe, Path(gallery), reading.root, candidates)
        candidates.write(out.parent, gallery_file(out).name)
        said = candidates.sentence(gallery_file(out))
    pipe.begin(options)  # refuses what cannot be, before anything is written
    if draw is not None:
        claim(Path(draw), str(out.resolve()), str(out))
    with open_answers(out, settings, restart, isinstance(rows, FolderRows)) as answers:
        if isinstance(rows, FolderRows) and rows.report:
            answers.log_folder(rows.report)
        done, limit = answers.done, candidates.limit

        def skip(row: InputRow, reason: str) -> bool:
            if answers.skipped >= limit:
                return False
            answers.log(row.number, row.says(reason))
            return True

        def refused(reason: str) -> UserError:
            others = f"{answers.skipped} others are passed over; " if answers.skipped else ""
            return UserError(
                f"{reason} (the rows before it are answered; {others}a larger --max-bad than {limit} passes "
                "over more such rows)"
            )

        answered = partial = 0
        waiting, error = rows.rows(done.last, done.names), UserError if isinstance(rows, OneRow) else refused
        place = None if draw is None else Path(draw)
        with _bar(rows, progress) as bar:
            for row, answer, warning in answered_rows(pipe, waiting, options, skip, place, error):
                answers.write(row.number, row.kept, answer, warning)
                answered += 1
                partial += warning is not None
                if answered % pipe.engine.window == 0:
                    answers.flush()
                bar.update(row.read - bar.n)
                bar.set_postfix(rows=done.lines + answered, skipped=answers.skipped, refresh=False)
        found = Outcome(answered, done.lines, answers.skipped, partial, answers.first_bad, said)
    _require_half(found, out, max_bad)
    return found


def _require_half(done: Outcome, out: Path, max_bad: int | None) -> None:
    total = done.before + done.answered + done.skipped
    where = f"all are in {bad_file(out)}"
    if total and done.skipped == total:
        raise UserError(f"{done.first_bad}: none of the {total} rows could be answered; mend them ({where})")
    if max_bad is None and 2 * done.skipped > total:
        raise UserError(
            f"{done.first_bad}: {done.skipped} of the {total} rows could not be answered, more than half; "
            f"the others are answered in {out}: mend them ({where}), or give --max-bad {done.skipped}"
        )


def refuse_to_overwrite(sources: Sequence[Path], out: Path) -> None:
    """Answers into the file that is read would be lost rows: a restart empties it first."""
    for written in (out, bad_file(out), settings_file(out)):
        for source in sources:
            if os.path.exists(written) and os.path.exists(source) and written.samefile(source):
                raise UserError(f"{source} is read, and {written} would be written; choose another --out")


def _bar(rows: RowSource, progress: bool) -> Any:
    scale = rows.unit == "B"
    return tqdm(total=rows.total, unit=rows.unit, unit_scale=scale, desc="predict", disable=not progress)


def read_gallery(pipe: Retrieval, path: Path, root: Path | None, left_out: LeftOut) -> Gallery:
    """The candidates of a folder or table; unreadable pictures are left out, others keep their numbers.

    Raises:
        UserError: a row cannot be used, too many pictures cannot, or some are texts and some pictures.
    """
    source = open_rows(path, Reading(EMBED.inputs, root=root))
    candidates, places, partial = dict[str, list[Any]](), list[str](), list[str]()
    if isinstance(source, FolderRows) and source.report:
        left_out.folder(source.report)
    for row in source.rows(0, frozenset()):
        places.append(row.place)
        if not isinstance(row.given, dict) or len(row.given) != 1:
            reason = getattr(row.given, "reason", "a candidate is either a text or an image")
            raise UserError(f"{row.place}: {reason}")
        for name, value in row.given.items():
            candidates.setdefault(name, []).append(value)
    if len(candidates) != 1:
        raise UserError(f"{path}: a gallery holds either texts or pictures; split it in two")
    ((kind, values),) = candidates.items()
    if kind == "text":
        return pipe.gallery(texts=values)

    def bad(number: int, reason: str) -> bool:
        left_out.add(places[number], reason)
        return True

    gallery = pipe.gallery(images=values, bad=bad, told=lambda number, _: partial.append(places[number]))
    tell_partial(partial)
    left_out.count(str(path), "gallery", len(values), len(left_out.rows))
    return gallery


def _settings(
    pipe: Pipeline[Any, Any],
    source: dict[str, Any] | None,
    reading: Reading,
    options: Any,
    gallery: Path | str | None,
) -> dict[str, Any]:
    return {
        "task": pipe.spec.name,
        "model": _fingerprint_of(pipe),
        "input": source,
        "columns": dict(reading.columns.columns),
        "keep": list(reading.keep),
        "options": options,
        "gallery": None if gallery is None else known_path(Path(gallery)),
        "precision": pipe.engine.precision.value,
    }


def _fingerprint_of(pipe: Pipeline[Any, Any]) -> str:
    """Digest of some of every weight: two models that differ do so here."""
    digest = hashlib.sha256()
    module = pipe.engine.pretrained.task or pipe.engine.model
    for name, tensor in module.state_dict().items():
        few = tensor.detach().flatten()[:64].float().cpu().numpy()
        digest.update(f"{name} {[*tensor.shape]}".encode() + few.tobytes())
    return digest.hexdigest()[:16]


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


def print_answers(
    pipe: Pipeline[Any, Any],
    rows: RowSource,
    options: Any,
    max_bad: int | None = None,
    draw: Path | None = None,
) -> None:
    """Print a JSON line for every row; rows that are passed over are named on standard error.

    Args:
        pipe: the pipeline.
        rows: what is answered.
        options: of the task.
        max_bad: rows to pass over at most because they cannot be answered; None is the rule of `LeftOut`.
        draw: folder for the pictures of a grounding with their boxes.

    Raises:
        UserError: too many rows cannot be answered (those before the last of them are printed), or `draw`
            holds something else.
    """
    answered, left_out = 0, LeftOut(max_bad)

    def skip(row: InputRow, reason: str) -> bool:
        if len(left_out.rows) >= left_out.limit:
            return False
        left_out.note(row.place or str(row.number), reason)
        print(f"xfm: {printable(row.says(reason))}", file=sys.stderr)
        return True

    if draw is not None:
        claim(draw, f"printed: {digest([rows.known_by()])}", "these answers, which are printed")
    if isinstance(rows, FolderRows) and rows.report:
        print(f"xfm: {rows.report.sentence}", file=sys.stderr)
    for row, answer, warning in answered_rows(pipe, rows.rows(0, frozenset()), options, skip, draw):
        shown = None if isinstance(rows, FolderRows) else row.number
        _print(answer_line(shown, row.kept, answer, warning))
        answered += 1
    if skipped := len(left_out.rows):
        of = amount(answered + skipped, "row")
        print(f"xfm: {skipped:,} of {of} could not be answered", file=sys.stderr)
        left_out.check_share("the input", answered + skipped, skipped)


def _print(line: bytes) -> None:
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    text = line.decode()
    if encoding != "utf8":
        text = json.dumps(json.loads(text))
    elif not text.isprintable():
        text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    print(text, flush=True)
