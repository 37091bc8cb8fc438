"""`report.html` of a fine-tuning: scores, classes, worst cases, curves."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.data.skipped import left_out_lines
from xfm.finetuning.leaderboard import Contender, Leaderboard, SystemKind
from xfm.finetuning.split_scores import calibration_of, classes_of
from xfm.finetuning.tuning_run import TuningRun
from xfm.metrics.calibration import CALIBRATION, Calibration
from xfm.metrics.numbers import percent, points, readable_seconds, rough
from xfm.reports.charts import Curve, read_curves, small_multiples
from xfm.reports.labels import is_headline, less_is_better, metric_name
from xfm.reports.lines import ScoreLine, line_of
from xfm.reports.page import Thumbnails, page_template
from xfm.reports.scores import Score, write_output
from xfm.tasks.base import Task
from xfm.tasks.class_task import ClassTask
from xfm.training.flags import read_flags
from xfm.training.run_folder import LOG_FILE

REPORT = "report.html"
WORST = 18
MORE = 2
"""Headlines of further metrics beside the primary one."""
PlaceOf = Callable[[Any, Sequence[Path]], str]


@dataclass(frozen=True)
class Card:
    """A headline: number, interval, notes, score line; the tone is `up`, `down` or `level`."""

    title: str
    value: str
    range: str = ""
    notes: tuple[str, ...] = ()
    line: ScoreLine | None = None
    tone: str = "level"


def write_report(
    out: Path,
    task: Task[Any, Any, Any],
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
        template, chart = page_template("finetune.html", Thumbnails(Path("/"))), _chart(out, task, tuned)
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
        sources=details["sources"],
        left_out=details["left_out"]["says"],
        left_out_lines=left_out_lines(details["left_out"]),
        folds=details.get("folds") or [],
        primary=task.primary,
        details=json.dumps(details, indent=2, ensure_ascii=False, default=str),
    )
    write_output(out / REPORT, page)


def _facts(details: Mapping[str, Any], tuned: TuningRun, primary: str) -> list[tuple[str, str]]:
    config, rows, tokens = details["config"], details["rows"], details["tokens"]
    decided = [f"{one['name']} {one['value']} ({one['why']})" for one in details.get("decisions", ())]
    more = {
        "Gained": "; ".join(filter(None, (details.get("over_fast") or {}).values())),
        "Cross-validation": details.get("final_model", ""),
        "Class weights": details.get("class_weights", ""),
        "Threshold": details.get("threshold", ""),
        "Temperature": details.get("temperature", ""),
        "Time limit": f"{config['time_limit']:.3g} minutes" if config.get("time_limit") else "",
        "Decided by preset and rows": "; ".join(decided),
        "Texts": f"{tokens} tokens at most" if tokens else "",
    }
    return [
        ("Model to begin with", str(details["provenance"]["fine_tuned_from"])),
        ("Rows", ", ".join(f"{name} {count:,}" for name, count in rows.items())),
        *candidate_facts(details),
        *_how(config, tuned, primary),
        *((name, said) for name, said in more.items() if said),
        ("Seed", str(config["seed"])),
        ("Time", ", ".join(f"{name} {readable_seconds(s)}" for name, s in details["seconds"].items())),
    ]


def candidates_of(task: Task[Any, Any, Any], tests: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    """Among how many things the right one is looked for, by split; empty for tasks without a search."""
    counts = {name: task.candidates(rows) for name, rows in tests.items()}
    return {name: count for name, count in counts.items() if count is not None}


def candidate_facts(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """These numbers as label and text: a search is the harder, the more there are."""
    counts = details.get("candidates") or {}
    return (
        [("Candidates", ", ".join(f"{name} {count:,}" for name, count in counts.items()))] if counts else []
    )


def _how(config: Mapping[str, Any], tuned: TuningRun, primary: str) -> list[tuple[str, str]]:
    if tuned.probe:
        return [("Model", f"frozen encoders and a linear layer: {tuned.probe.note}")]
    best = tuned.best
    name = metric_name(f"_/_/{primary}")
    kept = f"after step {best.step}: {name} {best.metrics[primary]:.3f}" if best else "the last"
    tune = {name: config["tune"][name] for name in ("language", "vision", "fusion")}
    changed = ", ".join(f"{name} {how}" for name, how in tune.items() if how not in (None, "full"))
    ended = ", then the time was over" if tuned.limited else ""
    steps = f"{tuned.step:,} of at most {config['steps']:,}, {config['batch_size']} rows each{ended}"
    return [
        ("Steps", steps),
        ("Model kept", kept),
        ("Learning rate", f"{config['lr']:.2g}, new parts {config['new_lr_multiplier']:g} times that"),
        ("Encoders", changed or "all of them learn"),
    ]


def _split(
    task: Task[Any, Any, Any],
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
    kept = (details.get("leaderboards") or {}).get(name)
    board = Leaderboard.from_json(kept) if kept else None
    main = [line for key, line in lines.items() if is_headline(key)]
    found, before = calibration_of(task, rows, predictions), scores.get(f"{start}{CALIBRATION}_before")
    return {
        "name": name,
        "lines": main,
        "more": [line for key, line in lines.items() if not is_headline(key)],
        "classes": classes_of(task, rows, predictions) if isinstance(task, ClassTask) else None,
        "worst": [(case, places(row, task.pictures_of(row))) for case, row in wrong[:WORST]],
        "wrong": len(wrong),
        "n": len(cases),
        "cards": _cards(main if len(main) > 1 else [*lines.values()], task.primary, board, found),
        "board": board,
        "calibration": found,
        "before": before.value if before else None,
    }


def _cards(
    lines: Sequence[ScoreLine], primary: str, board: Leaderboard | None, calibration: Calibration | None
) -> list[Card]:
    main = sorted(lines, key=lambda line: not line.key.endswith(f"/{primary}"))[: 1 + MORE]
    cards = [_score_card(line) for line in main]
    if board:
        rivals = [place for place in board.places if place.sort in (SystemKind.STRONG, SystemKind.CONSTANT)]
        cards[1:1] = [_rival_card(place) for place in rivals[:1]]
    if calibration:
        off = not calibration.low <= calibration.confidence <= calibration.high
        notes = (f"{percent(calibration.confidence, 0)} sure", f"{percent(calibration.accuracy, 0)} right")
        title = "calibration error"
        cards.append(Card(title, percent(calibration.error), "", notes, tone="down" if off else "level"))
    return cards


def _score_card(line: ScoreLine) -> Card:
    notes = (f"chance {rough(line.score.chance)}", f"{line.score.n:,} cases")
    return Card(line.metric, percent(line.score.value), _ends(line.score), notes, line)


def _ends(shown: Score | Contender) -> str:
    if shown.low is None or shown.high is None:
        return ""
    return f"{percent(shown.low)} to {percent(shown.high)}"


def _rival_card(place: Contender) -> Card:
    notes = [place.name]
    if place.gain_low is not None and place.gain_high is not None:
        ends = f"{points(-place.gain_high)} to {points(-place.gain_low)}"
        notes.append(f"this model: {points(-place.gain)} points ({ends})")
    tone = "level" if not place.shown else "down" if place.gain > 0 else "up"
    return Card("best simple baseline", percent(place.value), _ends(place), tuple(notes), tone=tone)


def _chart(out: Path, task: Task[Any, Any, Any], tuned: TuningRun) -> str:
    panels: dict[str, dict[str, Curve]] = {}
    log = read_curves(out / LOG_FILE)
    if "loss" in log:
        panels["training loss"] = {"loss": log["loss"]}
    if tuned.looks:
        steps = [float(look.step) for look in tuned.looks]
        others = [name for name in tuned.looks[0].metrics if name != task.primary]
        for name in (task.primary, *others[:1]):
            values = [look.metrics[name] for look in tuned.looks]
            panels[f"validation: {metric_name(f'{task.spec.name}/_/{name}')}"] = {name: (steps, values)}
    marks = [float(tuned.best.step)] if tuned.best else []
    return small_multiples(panels, columns=3, last=float(tuned.step), marks=marks) if panels else ""
