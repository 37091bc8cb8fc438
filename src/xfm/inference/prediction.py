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

from xfm.config.task_spec import FieldKind
from xfm.config.tasks import EMBED
from xfm.core.errors import UserError, amount, printable, refuse_none
from xfm.core.files import writing
from xfm.core.results_folder import ResultOrigin, digest, free_name, sign, signed_by, unused
from xfm.data.skipped import SkippedRecords
from xfm.data.tables import InMemory, Table, as_table
from xfm.inference.answer_file import ANSWER, ROW, answer_line, bad_file, open_answers, settings_file
from xfm.inference.base import Pipeline
from xfm.inference.drawing import draw_boxes
from xfm.inference.gallery import Gallery, Retrieval
from xfm.inference.input_parsing import InputError, read_original
from xfm.inference.row_sources import (
    FolderRows,
    InputRow,
    OneRow,
    ReadOptions,
    RowSource,
    known_path,
    open_rows,
)


@dataclass(frozen=True)
class PredictionCounts:
    """Rows that this run answered, earlier runs did, and all passed over, with the first of these. `gallery`
    tells of unreadable candidates."""

    answered: int
    before: int
    skipped: int
    first_bad: str = ""
    gallery: str = ""


def predict(
    pipe: Pipeline,
    source: Table | RowSource,
    out: Path | str,
    options: Any = None,
    *,
    reading: ReadOptions | None = None,
    gallery: Path | str | None = None,
    max_bad: int | None = None,
    restart: bool = False,
    draw: Path | str | None = None,
    progress: bool = False,
) -> PredictionCounts:
    """Answer every row of a file or folder into a JSON-lines file, or go on with a stopped run.

    A line is `{"row": NUMBER, KEPT COLUMNS..., "prediction": ANSWER}`, in the input's order; pictures of a
    folder have `image` in place of a number. The file is only appended to: a run that is killed goes on
    without a row missing or twice. OUT.run.json holds the settings.

    Args:
        pipe: the pipeline.
        source: a table (a file, or rows in memory as `xfm.finetune` takes them), a folder, or another row
            source.
        out: the JSON-lines file.
        options: of the task.
        reading: how the table is read; by default each field from the column of its name.
        gallery: candidates of a retrieval: a folder of pictures, or a table with a column image or text.
        max_bad: most rows, of all runs, to pass over and log in OUT.bad.jsonl (see `xfm.data.skipped`).
        restart: throw away what `out` holds.
        draw: folder for the pictures of a grounding with their boxes, under the rows' numbers.
        progress: show a bar.

    Raises:
        UserError: too many bad rows (those before are answered), `out` of other settings, or an unreadable
            file.
    """
    refuse_none(pipe=pipe, source=source, out=out)
    out = Path(out)
    reading = reading or ReadOptions(pipe.spec.inputs, urls=pipe.engine.urls is not None)
    rows = source
    if not isinstance(rows, RowSource):
        table = as_table(rows, "source")
        rows = open_rows(table if isinstance(table, InMemory) else Path(table), reading)
    options = pipe.spec.options() if options is None else options
    if taken := {ROW, ANSWER} & set(reading.keep):
        raise UserError(f"--keep {taken.pop()}: answers have a field of that name; rename the column")
    if draw is not None and not pipe.spec.draws:
        raise UserError(f"--draw draws the boxes of a grounding, and {pipe.spec.name} has none; leave it out")
    refuse_to_overwrite([*rows.files, *([] if gallery is None else [Path(gallery)])], out)
    settings = _settings(pipe, rows.known_by(), reading, options, gallery)
    candidates, said = SkippedRecords(max_bad), ""
    if isinstance(pipe, Retrieval) and gallery is not None:
        pipe.searched = read_gallery(pipe, Path(gallery), reading.root, candidates)
        log = out.with_name(f"{out.name}.gallery.bad.jsonl")
        candidates.write(out.parent, log.name)
        said = candidates.sentence(log)
    pipe.begin(options)  # refuses what cannot be, before anything is written
    if draw is not None:
        claim(Path(draw), str(out.resolve()), str(out))
    with open_answers(out, settings, restart, isinstance(rows, FolderRows)) as answers:
        if rows.report:
            print(f"Note: {rows.report}", file=sys.stderr, flush=True)
            answers.log(says=rows.report)
        limit = candidates.limit

        def skip(row: InputRow, reason: str) -> bool:
            if answers.skipped >= limit:
                return False
            answers.log(row=row.number, error=row.says(reason))
            return True

        def refused(reason: str) -> UserError:
            others = f"{answers.skipped} others are passed over; " if answers.skipped else ""
            return UserError(
                f"{reason} (the rows before it are answered; {others}a larger --max-bad than {limit} passes "
                "over more such rows)"
            )

        answered = 0
        waiting = rows.rows(answers.last, answers.names)
        error = UserError if isinstance(rows, OneRow) else refused
        place, scale = None if draw is None else Path(draw), rows.unit == "B"
        with tqdm(
            desc="predict", total=rows.total, unit=rows.unit, unit_scale=scale, disable=not progress
        ) as bar:
            for row, answer in answered_rows(pipe, waiting, options, skip, place, error):
                answers.write(row.number, row.kept, answer)
                answered += 1
                if answered % pipe.engine.window == 0:
                    answers.flush()
                bar.update(row.read - bar.n)
                bar.set_postfix(rows=answers.lines + answered, skipped=answers.skipped, refresh=False)
        found = PredictionCounts(answered, answers.lines, answers.skipped, answers.first_bad, said)
    left_out = SkippedRecords(max_bad)
    left_out.note(str(bad_file(out)), found.first_bad)
    left_out.check_share("the input", found.before + answered + found.skipped, found.skipped)
    return found


def refuse_to_overwrite(sources: Sequence[Path], out: Path) -> None:
    """Answers into the file that is read would be lost rows: a restart empties it first."""
    for written in (out, bad_file(out), settings_file(out)):
        for source in sources:
            if os.path.exists(written) and os.path.exists(source) and written.samefile(source):
                raise UserError(f"{source} is read, and {written} would be written; choose another --out")


def read_gallery(pipe: Retrieval, path: Path, root: Path | None, left_out: SkippedRecords) -> Gallery:
    """The candidates of a folder or table; unreadable pictures are left out, others keep their numbers."""
    source = open_rows(path, ReadOptions(EMBED.inputs, root=root))
    candidates, places = dict[str, list[Any]](), list[str]()
    left_out.folder(source.report)
    for row in source.rows(0, frozenset()):
        places.append(row.place)
        if not isinstance(row.given, dict) or len(row.given) != 1:
            bad_row = isinstance(row.given, UserError)
            reason = row.given if bad_row else "a candidate is either a text or an image"
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

    gallery = pipe.gallery(images=values, bad=bad)
    left_out.count(str(path), "gallery", len(values), len(left_out.rows))
    return gallery


def _settings(
    pipe: Pipeline,
    source: dict[str, Any] | None,
    reading: ReadOptions,
    options: Any,
    gallery: Path | str | None,
) -> dict[str, Any]:
    digest = hashlib.sha256()
    module = pipe.engine.pretrained.task or pipe.engine.model
    for name, tensor in module.state_dict().items():
        few = tensor.detach().flatten()[:64].float().cpu().numpy()
        digest.update(f"{name} {[*tensor.shape]}".encode() + few.tobytes())
    return {
        "task": pipe.spec.name,
        "model": digest.hexdigest()[:16],
        "input": source,
        "columns": dict(reading.columns.columns),
        "keep": list(reading.keep),
        "options": options,
        "gallery": None if gallery is None else known_path(Path(gallery)),
        "precision": pipe.engine.precision.value,
    }


def answered_rows(
    pipe: Pipeline,
    rows: Iterable[InputRow],
    options: Any,
    skip: Callable[[InputRow, str], bool],
    draw: Path | None,
    refused: Callable[[str], UserError] = UserError,
) -> Iterator[tuple[InputRow, Any]]:
    """Rows with their answers, in order; `skip` may pass over a bad row, else `refused` is raised."""
    waiting: dict[int, InputRow] = {}

    def given() -> Iterator[Any]:
        for number, row in enumerate(rows):
            waiting[number] = row
            yield row.given

    def bad(number: int, reason: str) -> bool:
        return skip(waiting[number], reason) and waiting.pop(number) is not None

    try:
        for number, answer in pipe.numbered(given(), options, bad):
            row = waiting.pop(number)
            if draw is not None:
                assert isinstance(row.given, Mapping)
                shown = next(field.name for field in pipe.spec.inputs if field.holds is FieldKind.PICTURE)
                drawn = draw_boxes(read_original(row.given[shown], pipe.engine.urls), [answer])
                path = draw / f"{row.number}.jpg"
                with writing(path, "and run the same command again"):
                    draw.mkdir(parents=True, exist_ok=True)
                    drawn.save(path, quality=90)
            yield row, answer
    except InputError as error:
        raise refused(waiting[error.number].says(error.reason)) from error


def claim(draw: Path, answers: str, about: str) -> None:
    """Take a folder for drawings; UserError where it holds those of other answers, which may be called 1.jpg
    too."""
    maker, before = ResultOrigin("predict", {"answers": answers}, about), signed_by(draw)
    if draw != unused(draw) and not (before and before.made(maker)):
        raise UserError(
            f"--draw {draw} holds something else than the pictures of {about}; name another folder, such as "
            f"{free_name(draw)}"
        )
    sign(draw, maker)


def print_answers(
    pipe: Pipeline, rows: RowSource, options: Any, max_bad: int | None = None, draw: Path | None = None
) -> None:
    """Print a JSON line for every row; rows that are passed over are named on standard error."""
    answered, left_out = 0, SkippedRecords(max_bad)

    def skip(row: InputRow, reason: str) -> bool:
        if len(left_out.rows) >= left_out.limit:
            return False
        left_out.note(row.place or str(row.number), reason)
        print(f"xfm: {printable(row.says(reason))}", file=sys.stderr)
        return True

    if draw is not None:
        claim(draw, f"printed: {digest([rows.known_by()])}", "these answers, which are printed")
    if rows.report:
        print(f"xfm: {rows.report}", file=sys.stderr)
    for row, answer in answered_rows(pipe, rows.rows(0, frozenset()), options, skip, draw):
        shown = None if isinstance(rows, FolderRows) else row.number
        line = answer_line(shown, row.kept, prediction=answer)
        encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
        text = line.decode()
        if encoding != "utf8":
            text = json.dumps(json.loads(text))
        elif not text.isprintable():
            text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
        print(text, flush=True)
        answered += 1
    if skipped := len(left_out.rows):
        of = amount(answered + skipped, "row")
        print(f"xfm: {skipped:,} of {of} could not be answered", file=sys.stderr)
        left_out.check_share("the input", answered + skipped, skipped)
