"""Files that the servers of the benchmarks take."""

import io
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

from xfm.config.benchmark import Edition, benchmark_recipes
from xfm.core.errors import UserError
from xfm.core.files import write_data, writing
from xfm.evaluation.benchmarks.published import OFFICIAL, Protocol
from xfm.evaluation.benchmarks.read.glue import DIAGNOSTIC, FORMATS, GlueTask
from xfm.reports.scores import write_json, write_output
from xfm.tasks.rows import Described, PicturePair, Question

GLUE_ARCHIVE = "glue-{}.zip"
_NUMBER = "{:.3f}"


def vqa_submission(path: Path, rows: Sequence[Question], answers: Sequence[str]) -> Path:
    """`[{"question_id": 1, "answer": "yes"}, ..]`, as the VQA server takes it."""
    keys = [row.key for row in rows]
    if None in keys or len(set(keys)) != len(keys):
        raise UserError(f"{path}: every question needs an id of its own; read the official questions")
    pairs = zip(keys, answers, strict=True)
    write_json(path, [{"question_id": key, "answer": answer} for key, answer in pairs])
    return path


def caption_submission(path: Path, rows: Sequence[Described], captions: Sequence[str]) -> Path:
    """`[{"image_id": 1, "caption": ".."}, ..]`, as the COCO server takes it."""
    if any(row.key is None for row in rows):
        raise UserError(f"{path}: every picture needs an id; read the official file")
    pairs = zip(rows, captions, strict=True)
    write_json(path, [{"image_id": row.key, "caption": caption} for row, caption in pairs])
    return path


def nlvr2_submission(path: Path, rows: Sequence[PicturePair], predictions: Sequence[bool]) -> Path:
    """`identifier,True` a line, as NLVR2's `metrics.py` and leaderboard take it."""
    if any(row.key is None for row in rows):
        raise UserError(f"{path}: every row needs an identifier; read the official file")
    pairs = zip(rows, predictions, strict=True)
    write_output(path, "".join(f"{row.key},{bool(truth)}\n" for row, truth in pairs))
    return path


def glue_submission(path: Path, task: GlueTask, predictions: Sequence[str | float]) -> Path:
    """TSV of a test set, `index<tab>prediction`, in the order of the test file; STS-B's values in [0, 5]."""
    layout = FORMATS[task]
    if layout.classes:
        written = dict(zip(layout.classes, layout.written, strict=True))
        cells = [written[str(prediction)] for prediction in predictions]
    else:
        cells = [_NUMBER.format(min(5.0, max(0.0, float(prediction)))) for prediction in predictions]
    lines = (f"{index}\t{cell}\n" for index, cell in enumerate(cells))
    write_output(path, "index\tprediction\n" + "".join(lines))
    return path


def glue_missing(out: Path, edition: Edition) -> list[str]:
    """The files for the GLUE server that no finished evaluation of an edition below `out` has written."""
    return [str(path.relative_to(out)) for path in _glue_files(out, edition) if not _is_finished(path)]


def glue_archive(out: Path, edition: Edition) -> Path | None:
    """`glue-EDITION.zip` of the eleven TSVs in `TASK/FT/EDITION/`; None while one is missing.

    WNLI's answers of the recommended edition, the only one, are in both archives.
    """
    if glue_missing(out, edition):
        return None
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _glue_files(out, edition):
            archive.write(path, path.name)
    target = out / GLUE_ARCHIVE.format(edition)
    with writing(target, "and write the archive again"):
        write_data(target, content.getvalue())
    return target


def glue_note(out: Path, benchmarks: Collection[str], edition: Edition) -> str:
    """What became of an edition's archive after evaluations of benchmarks; empty where none is of GLUE's."""
    if not {task.value for task in GlueTask} & set(benchmarks):
        return ""
    if archive := glue_archive(out, edition):
        return f"{archive} is the file for the GLUE server"
    lacks = ", ".join(glue_missing(out, edition))
    return f"the file for the GLUE server ({edition}) still lacks {lacks}"


def _is_finished(path: Path) -> bool:
    return path.is_file() and (path.parent / OFFICIAL).is_file()


def _glue_files(out: Path, edition: Edition) -> list[Path]:
    files: list[Path] = []
    for task, layout in FORMATS.items():
        own = edition if task.value in benchmark_recipes(edition) else Edition.RECOMMENDED
        folder = out / task.value / Protocol.FINE_TUNED.value / own.value
        names = [name for name, _, _ in layout.hidden] + [DIAGNOSTIC] * (task is GlueTask.MNLI)
        files += [folder / f"{name}.tsv" for name in names]
    return files
