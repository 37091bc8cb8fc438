"""Files that the servers of the benchmarks take."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from xfm.errors import UserError
from xfm.files import writing
from xfm.reports.scores import write_json, write_output
from xfm.reproduce.read.glue import FORMATS, GlueTask
from xfm.tasks.rows import Described, PicturePair, Question

DIAGNOSTIC = "AX"
_NUMBER = "{:.3f}"


def vqa_submission(path: Path, rows: Sequence[Question], answers: Sequence[str]) -> Path:
    """`[{"question_id": 1, "answer": "yes"}, ..]`, as the VQA server takes it.

    Raises:
        UserError: a row has no question id, two have the same, or the file cannot be written.
    """
    keys = [row.key for row in rows]
    if None in keys or len(set(keys)) != len(keys):
        raise UserError(f"{path}: every question needs an id of its own; read the official questions")
    pairs = zip(keys, answers, strict=True)
    write_json(path, [{"question_id": key, "answer": answer} for key, answer in pairs])
    return path


def caption_submission(path: Path, rows: Sequence[Described], captions: Sequence[str]) -> Path:
    """`[{"image_id": 1, "caption": ".."}, ..]`, as the COCO server takes it.

    Raises:
        UserError: a row has no picture id, or the file cannot be written.
    """
    if any(row.key is None for row in rows):
        raise UserError(f"{path}: every picture needs an id; read the official file")
    pairs = zip(rows, captions, strict=True)
    write_json(path, [{"image_id": row.key, "caption": caption} for row, caption in pairs])
    return path


def nlvr2_submission(path: Path, rows: Sequence[PicturePair], predictions: Sequence[bool]) -> Path:
    """`identifier,True` a line, as NLVR2's `metrics.py` and leaderboard take it.

    Raises:
        UserError: a row has no identifier, or the file cannot be written.
    """
    if any(row.key is None for row in rows):
        raise UserError(f"{path}: every row needs an identifier; read the official file")
    pairs = zip(rows, predictions, strict=True)
    write_output(path, "".join(f"{row.key},{bool(truth)}\n" for row, truth in pairs))
    return path


def glue_submission(path: Path, task: GlueTask, predictions: Sequence[str | float]) -> Path:
    """The TSV of a test set: a header and `index<tab>prediction` a line, in the order of the test file.

    Args:
        path: named as the server wants it, such as `MNLI-m.tsv`, see `GlueFormat.hidden`.
        task: the task.
        predictions: names of classes as `xfm.reproduce.read.glue` gives them; values of STS-B, which are kept
            between 0 and 5.
    """
    layout = FORMATS[task]
    if layout.classes:
        written = dict(zip(layout.classes, layout.written, strict=True))
        cells = [written[str(prediction)] for prediction in predictions]
    else:
        cells = [_NUMBER.format(min(5.0, max(0.0, float(prediction)))) for prediction in predictions]
    lines = (f"{index}\t{cell}\n" for index, cell in enumerate(cells))
    write_output(path, "index\tprediction\n" + "".join(lines))
    return path


def glue_archive(folder: Path) -> Path | None:
    """`submission.zip` of the TSVs in a folder, once all eleven that the server wants are there.

    The diagnostic set (`AX.tsv`) is part of them; where it was not predicted, its file must be copied from
    the sample submission.

    Returns:
        The archive, or None while a file is missing.
    """
    names = [name for layout in FORMATS.values() for name, _, _ in layout.hidden] + [DIAGNOSTIC]
    paths = [folder / f"{name}.tsv" for name in names]
    if not all(path.is_file() for path in paths):
        return None
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.name)
    target = folder / "submission.zip"
    with writing(target, "and write the archive again"):
        partial = target.with_suffix(".partial")
        partial.write_bytes(content.getvalue())
        partial.replace(target)
    return target
