"""`report.html` of a fine-tuning: scores, classes, worst cases, curves."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.data.skipped import left_out_lines
from xfm.finetuning.retention import MEANINGS
from xfm.finetuning.split_scores import classes_of
from xfm.finetuning.tuning_run import TuningRun
from xfm.metrics.calibration import CALIBRATION, calibration
from xfm.metrics.numbers import readable_seconds
from xfm.reports.charts import Curve, read_curves, small_multiples
from xfm.reports.labels import is_headline, less_is_better, metric_name
from xfm.reports.page import line_of, page_template
from xfm.reports.scores import Score, write_output
from xfm.tasks.base import AnyTask
from xfm.tasks.class_task import ClassTask
from xfm.training.flags import read_flags
from xfm.training.run_folder import LOG_FILE

REPORT = "report.html"
WORST = 18
PlaceOf = Callable[[Any, Sequence[Path]], str]


def write_report(
    out: Path,
    task: AnyTask,
    tests: Mapping[str, Sequence[Any]],
    predictions: Mapping[str, Sequence[Any]],
    scores: Mapping[str, Score],
    tuned: TuningRun,
    details: Mapping[str, Any],
    places: PlaceOf = lambda row, pictures: "",
) -> None:
    """Write the report of a run's folder; `details` is `evaluation.json`, `places` names a row and its
    pictures."""
    splits = [
        _split(task, name, rows, predictions[name], scores, details, places) for name, rows in tests.items()
    ]
    try:
        template, chart = page_template("finetune.html"), _chart(out, task, tuned)
    except ImportError as error:
        note = f"Note: no report, because {error.name} is not installed: pip install 'xfm[report]'."
        return tqdm.write(note, file=sys.stderr)
    page = template.render(
        task=task.spec.name,
        facts=details.get("facts") or _facts(details, tuned, task.primary),
        new_rows="facts" in details,
        splits=splits,
        few=min((split["n"] for split in splits), default=0),
        validation="validation" in tests,
        flags=read_flags(details),
        next_command=details.get("next") or "",
        chart=chart,
        cost=details.get("cost") or "",
        kept=tuned.kept,
        meanings=MEANINGS,
        sources=details["sources"],
        left_out=details["left_out"]["says"],
        left_out_lines=left_out_lines(details["left_out"]),
        details=json.dumps(details, indent=2, ensure_ascii=False, default=str),
    )
    write_output(out / REPORT, page)


def _facts(details: Mapping[str, Any], tuned: TuningRun, primary: str) -> list[tuple[str, str]]:
    config, rows, tokens, best = details["config"], details["rows"], details["tokens"], tuned.best
    decided = [f"{name} {value}" for name, value in details.get("decisions", {}).items()]
    ended = ", then the time was over" if tuned.limited else ""
    kept = "the last"
    if best is not None:
        kept = f"after step {best}: {metric_name(f'_/_/{primary}')} {tuned.looks[best][primary]:.3f}"
    tune = {name: config["tune"][name] for name in ("language", "vision", "fusion")}
    changed = ", ".join(f"{name} {how}" for name, how in tune.items() if how not in (None, "full"))
    trained = {
        "Steps": f"{tuned.step:,} of at most {config['steps']:,}, {config['batch_size']} rows each{ended}",
        "Model kept": kept,
        "Weights kept": tuned.weights,
        "Learning rate": f"{config['lr']:.2g}, new parts {config['new_lr_multiplier']:g} times that",
        "Encoders": changed or "all of them learn",
    }
    probed = {"Model": f"frozen encoders and a linear layer: {tuned.probe.note}"} if tuned.probe else None
    facts = {
        "Model to begin with": str(details["provenance"]["fine_tuned_from"]),
        "Rows": ", ".join(f"{name} {count:,}" for name, count in rows.items()),
        **(probed or trained),
        "Class weights": details.get("class_weights", ""),
        "Threshold": details.get("threshold", ""),
        "Temperature": details.get("temperature", ""),
        "Time limit": f"{config['time_limit']:.3g} minutes" if config.get("time_limit") else "",
        "Decided by preset and rows": ", ".join(decided),
        "Texts": f"{tokens} tokens at most" if tokens else "",
        "Seed": str(config["seed"]),
        "Time": ", ".join(f"{name} {readable_seconds(s)}" for name, s in details["seconds"].items()),
    }
    return [(name, said) for name, said in facts.items() if said]


def _split(
    task: AnyTask,
    name: str,
    rows: Sequence[Any],
    predictions: Sequence[Any],
    scores: Mapping[str, Score],
    details: Mapping[str, Any],
    places: PlaceOf,
) -> dict[str, Any]:
    start = f"{task.spec.name}/{name}/"
    keys = [key for key in scores if key.startswith(start) and not less_is_better(key)]
    lines = {key: line_of(key, scores, details["baselines"].get(key, {})) for key in keys}
    cases = [(task.case(row, one), row) for row, one in zip(rows, predictions, strict=True)]
    wrong = sorted((one for one in cases if not one[0].right), key=lambda one: -one[0].badness)
    found, before = None, scores.get(f"{start}{CALIBRATION}_before")
    if isinstance(task, ClassTask) and not task.labels.threshold and rows:
        found = calibration(*task.labels.sure_and_right(task.truths_of(rows), predictions))
    return {
        "name": name,
        "lines": [line for key, line in lines.items() if is_headline(key)],
        "more": [line for key, line in lines.items() if not is_headline(key)],
        "classes": classes_of(task, rows, predictions) if isinstance(task, ClassTask) else None,
        "worst": [(case, places(row, task.images_of(row))) for case, row in wrong[:WORST]],
        "wrong": len(wrong),
        "n": len(cases),
        "board": (details.get("leaderboards") or {}).get(name),
        "calibration": found,
        "before": before.value if before else None,
    }


def _chart(out: Path, task: AnyTask, tuned: TuningRun) -> str:
    panels: dict[str, dict[str, Curve]] = {}
    log = read_curves(out / LOG_FILE)
    if "loss" in log:
        panels["training loss"] = {"loss": log["loss"]}
    if tuned.looks:
        steps, looks = [*map(float, tuned.looks)], [*tuned.looks.values()]
        others = [name for name in looks[0] if name != task.primary]
        for name in (task.primary, *others[:1]):
            values = [look[name] for look in looks]
            panels[f"validation: {metric_name(f'{task.spec.name}/_/{name}')}"] = {name: (steps, values)}
    marks = [] if tuned.best is None else [float(tuned.best)]
    return small_multiples(panels, columns=3, last=float(tuned.step), marks=marks) if panels else ""
