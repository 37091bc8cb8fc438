"""`xfm.score`: a model, as it was when it was saved, on new labelled rows of its task."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from xfm.config.finetune import FinetuneConfig
from xfm.config.labels import LabelKind
from xfm.config.next_command import next_command
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.config.training import Precision
from xfm.core.errors import UserError, amount, excerpt, refuse_none
from xfm.core.paths import home_path
from xfm.core.results_folder import ResultOrigin, digest, model_mark, require_free, sign, unused
from xfm.data.skipped import SkippedRecords
from xfm.data.tables import ColumnMap, InMemory, Table, TableRow, as_table, read_table
from xfm.finetuning.data import PICTURES_FOLDER, reading
from xfm.finetuning.presets import check_applicable, task_settings
from xfm.finetuning.report import write_report
from xfm.finetuning.split_scores import add_scores
from xfm.finetuning.start import few, readable_rows, require_texts, restored, task_of
from xfm.finetuning.tuning_run import TuningRun
from xfm.models.interop.loading import load
from xfm.models.precision import resolve
from xfm.models.resolve import find_model, stand_in
from xfm.reports.scores import DETAILS, METRICS, PartResult, Score, write_json, write_output, write_scores
from xfm.tasks.base import AnyTask
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import Case
from xfm.training.cpu_runtime import prepare_process
from xfm.training.distributed import pick_device
from xfm.training.pretrain import MODEL_FOLDER

PREDICTIONS, SPLIT = "predictions.jsonl", "test"
BATCH = 64


@dataclass(frozen=True)
class ScoreResult:
    """A model on new rows; `unknown` are rows of labels that it does not know, which count as
    wrong."""

    out: Path
    scores: dict[str, Score]
    predictions: list[Any]
    unknown: dict[str, list[str]]
    left_out: str = ""
    next_command: str = ""


def score(
    model: Path | str,
    test: Table,
    out: Path | str | None = None,
    *,
    task: str = "",
    columns: Mapping[str, str] | str = "",
    pictures: Path | str | None = None,
    box_format: BoxFormat | str = BoxFormat.XYWH,
    box_unit: BoxUnit | str = BoxUnit.PIXEL,
    label_separator: str = FinetuneConfig.label_separator,
    max_bad: int | None = None,
    seed: int = 0,
    precision: Precision | str = Precision.AUTO,
    device: str = "auto",
    progress: bool = True,
) -> ScoreResult:
    """Score a fine-tuned model on new labelled rows of its task, or a pre-trained one at `task`.

    Chance and baseline are as everywhere (see `xfm.reports.scores.Score`). The baseline is the best guess
    that is the same for all rows (the most frequent class or answer, the best constant box, the mean), chosen
    on these very rows: no constant does better. A label that the model does not know counts as wrong.

    Args:
        model: folder of a model, or of its run.
        test: table of the rows, as `xfm.finetune` takes it.
        out: folder for the results; a new one below the run if not given.
        task: what a pre-trained model is scored at, such as "retrieval"; a fine-tuned one knows its task.
        columns, pictures: as of `xfm.finetune`.
        box_format, box_unit: what the four numbers of a box are.
        label_separator: what stands between the labels of a cell, where rows may have several.
        max_bad: rows with an unreadable picture to leave out at most; None is the rule of `SkippedRecords`.
        seed: of the random guesses.
        precision, device: of the forward pass.
        progress: show bars.

    Raises:
        UserError: the model does not answer the task, something is wrong with the table, no row has a label
            that the model knows, or `out` holds other results; names the file, row and column.

    Example:
        >>> score("runs/reviews/model", "new.csv").scores["text-classification/test/accuracy"].value
    """
    refuse_none(model=model, test=test)
    test = as_table(test, "test")
    prepare_process()
    path = find_model(model)
    maker = ResultOrigin("evaluate", {"model": model_mark(path)}, f"{model} on {test}")
    out = unused(default_folder(path, test)) if out is None else home_path(out)
    require_free(out, maker)
    base = load(path)
    told = task_of(base, path, task)
    config = FinetuneConfig(
        regression=bool(told.spec.values) and told.classes == 1,
        multi_label=told.label_kind is LabelKind.SEVERAL,
        image_head=told.image_head,
        batch_size=BATCH,
        label_separator=label_separator,
        box_format=BoxFormat(box_format),
        box_unit=BoxUnit(box_unit),
        seed=seed,
        precision=Precision(precision),
        device=str(pick_device(device)),
    )
    check_applicable(told.spec, config)
    kind, mapped = told.spec.task_class(config.regression), ColumnMap.parse(columns)
    root = None if pictures is None else home_path(pictures)
    left_out, decoded = SkippedRecords(max_bad), TaskImages(base.preprocessing)
    table = read_table(test, kind.spec.fields, mapped, out / PICTURES_FOLDER, root, left_out)
    typed = readable_rows(kind, {SPLIT: table}, reading(config), left_out, decoded, progress)[SPLIT]
    rows, numbers = _merged(kind, typed)
    require_texts(kind, typed, told.texts)
    maker = replace(maker, subject={**maker.subject, "data": digest(rows)})
    require_free(out, maker)
    restored_task = restored(kind, base, decoded, rows, task_settings(config))
    unknown = _unknown(restored_task, typed)
    sign(out, maker)
    shown = {picture for row in rows for picture in kind.images_of(row)}
    more = {
        "model": str(model),
        "sources": {SPLIT: str(test)},
        "provenance": base.provenance,
        "left_out": left_out.kept_in(out),
        "made_by": asdict(maker),
        "next": next_command(told.kind, model, str(test), out, mapped.option, root, shown),
    }
    return _score(out, restored_task, rows, numbers, unknown, more)


def _score(
    out: Path,
    task: AnyTask,
    rows: Sequence[Any],
    numbers: Sequence[int],
    unknown: dict[str, list[str]],
    more: Mapping[str, Any],
) -> ScoreResult:
    began = time.perf_counter()
    predictions = task.predict(rows)
    result = PartResult()
    add_scores(result, task, f"{task.spec.name}/{SPLIT}", rows, predictions, {})
    for key, floors in result.baselines.items():
        of_these = ((name.removesuffix(" of the training rows"), value) for name, value in floors.items())
        result.baselines[key] = {f"{name} of these rows": value for name, value in of_these}
    said = more["left_out"]["says"]
    found = ScoreResult(out, result.scores, predictions, unknown, said, more["next"])
    cases = map(task.case, rows, predictions)
    write_output(out / PREDICTIONS, "".join(map(_line, numbers, cases)))
    settings = task.settings
    precision = resolve(settings.precision, settings.device)
    details = {
        "rows": {SPLIT: len(rows)},
        "unknown": unknown,
        "baselines": result.baselines,
        "config": {"seed": settings.seed, "precision": precision.value, "device": settings.device},
        "tokens": settings.max_tokens,
        "seconds": {"predictions": round(time.perf_counter() - began, 2)},
        **more,
    }
    write_json(out / DETAILS, details)
    _report(found, task, rows, details)
    write_scores(out / METRICS, found.scores)
    return found


def default_folder(model: Path, test: Path | str | InMemory) -> Path:
    """Where results go if nobody says so: below the model's run, named after the table."""
    name = Path(str(test).rpartition("/")[2] or str(test)).stem or "rows"
    name = "rows" if isinstance(test, InMemory) else name
    beside = model.parent if model.is_file() or model.name == MODEL_FOLDER else model
    return (stand_in(model) or beside) / f"evaluation-{name}"


def _report(found: ScoreResult, task: AnyTask, rows: Sequence[Any], details: Mapping[str, Any]) -> None:
    provenance, unknown = details["provenance"], amount(sum(map(len, found.unknown.values())), "row")
    shown = [f"{label!r}: {few(places)}" for label, places in found.unknown.items()]
    facts = [
        ("Model", details["model"]),
        ("Fine-tuned from", str(provenance.get("fine_tuned_from", "nothing, as far as its folder says"))),
        ("Rows", f"{len(rows):,} of {details['sources'][SPLIT]}"),
        ("Baseline", "the best guess that is the same for all of these rows"),
        *([("Unknown to the model, counted as wrong", f"{unknown}: {few(shown)}")] if shown else []),
        ("Seed", str(details["config"]["seed"])),
    ]
    task.train_rows = []  # the training rows are not here, and the page must not show others in their place
    steps = provenance.get("steps")
    tuned, splits = TuningRun(steps if isinstance(steps, int) else 0), {SPLIT: rows}
    whole = {**details, "facts": facts}
    write_report(found.out, task, splits, {SPLIT: found.predictions}, found.scores, tuned, whole)


def _merged(kind: type[AnyTask], typed: Sequence[tuple[TableRow, Any]]) -> tuple[Sequence[Any], list[int]]:
    # Rows, those that belong together as one, and the number of each (of the first) in the table.
    merged = kind.merge([converted for _, converted in typed])
    numbers = [row.number for row, _ in typed]
    if len(merged) < len(typed):
        first = {one: row.number for row, own in reversed(typed) for one in kind.images_of(own)}
        numbers = [first[kind.images_of(row)[0]] for row in merged]
    return merged, numbers


def _unknown(task: AnyTask, typed: Sequence[tuple[TableRow, Any]]) -> dict[str, list[str]]:
    if not (known := set(task.known)):
        return {}
    found: dict[str, list[str]] = {}
    for row, own in typed:
        for said in task.unknown(own):
            found.setdefault(said, []).append(row.place)
    if found and not any(known & set(task.truths(own)) for _, own in typed):
        row = typed[0][0]
        what = next(field.name for field in task.spec.fields if field.target)
        raise UserError(
            f'{row.file}: the column "{row.names.get(what, what)}" has no {what} that the model knows; '
            f"it has {few(map(excerpt, found))}, and the model knows "
            f"{few(map(excerpt, sorted(known)))}: give --columns {what}=COLUMN, or the model of this task"
        )
    return found


def _line(number: int, case: Case) -> str:
    line = {"row": number, "truth": case.truth, "prediction": case.predicted, "right": case.right}
    boxes = {"true_boxes": case.true_boxes, "predicted_box": case.predicted_box}
    more = {"confidence": case.confidence, **boxes, **dict(named for named in case.texts if named[0])}
    line |= {name: value for name, value in more.items() if value is not None}
    return json.dumps(line, ensure_ascii=False) + "\n"
