"""`report.html`: one self-contained page with scores, curves and examples."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from xfm.config.evaluation import Part
from xfm.errors import UserError
from xfm.evaluation.charts import Curve, read_log, small_multiples
from xfm.evaluation.context import PartResult
from xfm.evaluation.embed import Thumbnails
from xfm.evaluation.labels import Group, grouped, is_headline, metric_name, split_name
from xfm.evaluation.metrics import wilson_interval
from xfm.evaluation.scores import REQUIRED_KEYS, Score, read_scores, write_text
from xfm.evaluation.stored import DETAILS, METRICS, PARTS_FOLDER, read_part

REPORT = "report.html"
HEADLINES = (
    "retrieval/seen/text_r1_rerank",
    "retrieval/seen/image_r1_rerank",
    "vqa/seen/accuracy",
    "reasoning/seen/accuracy",
    "grounding/seen/acc50",
    "masked_token/test/accuracy_right_image",
    "entailment/test/accuracy",
    "category/test/probe_accuracy",
)


@dataclass(frozen=True)
class Line:
    """A row of the score table.

    Attributes:
        key: of `metrics.json`.
        split, metric: in words.
        score: the numbers.
        low, high: 95 % interval of the value, None for differences.
        gain: value minus the better of chance and baseline.
        baselines: every baseline by name.
    """

    key: str
    split: str
    metric: str
    score: Score
    low: float | None
    high: float | None
    gain: float
    baselines: dict[str, float]


@dataclass(frozen=True)
class Section:
    """A group of the score table: lines that are shown, and lines that fold away."""

    group: Group
    lines: list[Line]
    more: list[Line]


def write_report(out: Path, log: Path | None = None, world: Path | None = None) -> Path:
    """Write `report.html` beside the results of an evaluation.

    Args:
        out: folder that `evaluate` wrote to.
        log: `log.jsonl` of the pre-training, for the loss curves; by default the one beside the model.
        world: the world's folder, for pictures; by default the one that was evaluated on.

    Returns:
        The report's path.

    Raises:
        UserError: there are no results, or the packages of the report are missing.
    """
    scores = read_scores(out / METRICS)
    details = _details(out / DETAILS)
    parts = {
        part: found
        for part in Part
        if part.value in details["seconds"]
        and (found := read_part(out / PARTS_FOLDER / f"{part.value}.json"))
    }
    world = world or Path(details.get("world", "."))
    log = log or Path(details.get("model", out)).parent / "log.jsonl"
    page = _render(scores, details, parts, Thumbnails(world), log)
    write_text(out / REPORT, page)
    return out / REPORT


def _details(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged; run `xfm evaluate` again") from error


def _render(
    scores: Mapping[str, Score],
    details: Mapping[str, Any],
    parts: Mapping[Part, PartResult],
    thumbnails: Thumbnails,
    log: Path,
) -> str:
    """The page."""
    try:
        import matplotlib  # noqa: F401  only to say early what is missing
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError as error:
        raise UserError(f"the report needs {error.name}: pip install 'xfm[report]'") from error

    def load(name: str) -> str:
        return (resources.files("xfm.evaluation") / "templates" / name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "seconds": readable_seconds}
    environment.globals["picture"] = thumbnails.uri
    pretraining = read_log(log)
    return environment.get_template("report.html").render(
        sections=sections(scores, parts),
        headlines=[_line(key, scores[key], parts) for key in HEADLINES if key in scores],
        missing=[key for key in REQUIRED_KEYS if key not in scores],
        facts=facts(details, scores),
        details=json.dumps(details, indent=2, ensure_ascii=False),
        seconds=details.get("seconds", {}),
        pretraining_chart=_pretraining_chart(pretraining),
        tuning_chart=_tuning_chart(parts),
        examples={part.value: parts[part].examples if part in parts else {} for part in Part},
    )


def sections(scores: Mapping[str, Score], parts: Mapping[Part, PartResult]) -> list[Section]:
    """The score table, grouped."""
    found: list[Section] = []
    for group, members in grouped(scores):
        lines = [_line(key, score, parts) for key, score in members.items()]
        shown = [line for line in lines if is_headline(line.key)]
        found.append(Section(group, shown, [line for line in lines if not is_headline(line.key)]))
    return found


def _line(key: str, score: Score, parts: Mapping[Part, PartResult]) -> Line:
    baselines = next((found.baselines[key] for found in parts.values() if key in found.baselines), {})
    is_share = "gain" not in key and "mean_iou" not in key and 0 <= score.value <= 1
    interval = wilson_interval(score.value, score.n) if is_share and score.n else None
    floor = max(score.chance, score.baseline if score.baseline is not None else score.chance)
    return Line(
        key,
        split_name(key),
        metric_name(key),
        score,
        interval.low if interval else None,
        interval.high if interval else None,
        score.value - floor,
        baselines,
    )


def facts(details: Mapping[str, Any], scores: Mapping[str, Score]) -> list[tuple[str, str]]:
    """What was run, as label and text."""
    provenance: dict[str, Any] = details.get("provenance") or {}
    config: dict[str, Any] = details.get("config") or {}
    init = {name: value for name, value in (provenance.get("init") or {}).items() if value}
    began = ", ".join(f"{name} from {value}" for name, value in init.items())
    total = sum((details.get("seconds") or {}).values())
    rows = {
        "Model": str(details.get("model", "unknown")),
        "Recipe": _joined(provenance.get("recipe"), provenance.get("steps"), " steps"),
        "Weights used": began or "none: trained from scratch",
        "Parameters": f"{details['parameters']:,}" if "parameters" in details else "",
        "World": _joined(details.get("world"), (provenance.get("world") or {}).get("seed"), "", "seed "),
        "Evaluation": f"{len(scores)} scores in {readable_seconds(total)}, seed {config.get('seed', 0)}, "
        f"scale {config.get('scale', 1):g}",
        "Machine": f"{details.get('device', 'cpu')}, {details.get('threads', '?')} threads, "
        f"torch {details.get('torch', '?')}",
        "Weights' sha256": str(details.get("weights_sha256", ""))[:16],
    }
    return [(name, text) for name, text in rows.items() if text]


def _joined(first: object, second: object, unit: str = "", before: str = "") -> str:
    return ", ".join(
        text for text in (str(first or ""), f"{before}{second}{unit}" if second is not None else "") if text
    )


def _pretraining_chart(curves: Mapping[str, Curve]) -> str:
    return small_multiples({name: {name: curve} for name, curve in curves.items()}) if curves else ""


def _tuning_chart(parts: Mapping[Part, PartResult]) -> str:
    """One panel a task: the task and its baseline."""
    panels: dict[str, dict[str, Curve]] = {}
    for part, found in parts.items():
        for name, values in found.curves.items():
            label = name.partition(", ")[2] or "task"
            panels.setdefault(part.value, {})[label] = (list(range(1, len(values) + 1)), values)
    return small_multiples(panels, smooth=True) if panels else ""


def percent(value: float, digits: int = 1) -> str:
    """0.1234 -> 12.3 %."""
    return f"{100 * value:.{digits}f} %"


def points(value: float) -> str:
    """0.1234 -> +12.3."""
    return f"{100 * value:+.1f}"


def readable_seconds(seconds: float) -> str:
    """75.2 -> 1 min 15 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
