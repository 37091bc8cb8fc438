"""`report.html`: one self-contained page with scores, curves and examples."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xfm.config.evaluation import Part
from xfm.core.errors import UserError
from xfm.core.results_folder import run_of
from xfm.data.skipped import left_out_lines
from xfm.metrics.numbers import readable_seconds
from xfm.reports.charts import Curve, read_curves, read_validation, small_multiples
from xfm.reports.labels import GROUPS, grouped, headlines, is_headline, loss_name, part_name, title_of
from xfm.reports.page import line_of, page_template
from xfm.reports.scores import (
    DETAILS,
    METRICS,
    PARTS_FOLDER,
    REQUIRED_KEYS,
    PartResult,
    Score,
    read_object,
    read_part,
    read_scores,
    write_output,
)
from xfm.training.flags import ENOUGH_STEPS, Flag, FlagKind, of_pretraining, read_flags, recommended_steps

REPORT = "report.html"

ENOUGH = 200
"""Cases below which a score is called rough: its interval is more than ten points wide."""


def write_report(out: Path) -> Path:
    """Write `report.html` into a folder of `evaluate`; its path. The curves are those of the `log.jsonl` of
    the model's run, the pictures those of the evaluated world."""
    scores = read_scores(out / METRICS)
    if not (details := read_object(out / DETAILS)):
        raise UserError(f"{out / DETAILS} is missing or damaged; run `xfm evaluate` again")
    files: dict[str, str] = details.get("files", {})
    parts = {
        part: found
        for part in Part
        if part.value in files and (found := read_part(out / PARTS_FOLDER / files[part.value]))
    }
    world = Path(details.get("world", "."))
    log = run_of(Path(details.get("model", out))) / "log.jsonl"
    config: dict[str, Any] = details.get("config") or {}
    manifest = read_object(world / "world.json")
    baselines = {key: floors for found in parts.values() for key, floors in found.baselines.items()}
    page = page_template("report.html", world).render(
        sections=sections(scores, baselines),
        headlines=[line_of(key, scores, baselines.get(key, {})) for key in headlines(scores)],
        licences=[f"{name}: {text}" for name, text in (manifest.get("licences") or {}).items()],
        facts=facts(details, scores, manifest),
        details=json.dumps(details, indent=2, ensure_ascii=False),
        seconds=details.get("seconds", {}),
        models=details.get("models", {}),
        pretraining_chart=_pretraining_chart(read_curves(log), read_validation(log)),
        validation=bool(config.get("validation")),
        left_out=details.get("left_out", {}).get("says", ""),
        left_out_lines=left_out_lines(details.get("left_out", {"rows": [], "folders": []})),
        flags=read_flags(details),
        tuning_chart=_tuning_chart(parts),
        baselines=bool(config.get("baselines")),
        examples={part.value: parts[part].examples if part in parts else {} for part in Part},
    )
    write_output(out / REPORT, page)
    return out / REPORT


def sections(scores: Mapping[str, Score], baselines: Mapping[str, dict[str, float]]) -> list[dict[str, Any]]:
    """The score table, grouped by task: lines shown (`lines`) and folded away (`more`) by split."""
    found: list[dict[str, Any]] = []
    for task, keys in grouped(scores).items():
        section: dict[str, Any] = {"task": task, "title": title_of(task), "lines": {}, "more": {}}
        section["explanation"] = GROUPS[task][1] if task in GROUPS else ""
        for key in keys:
            line = line_of(key, scores, baselines.get(key, {}))
            section["lines" if is_headline(key) else "more"].setdefault(line["split"], []).append(line)
        found.append(section)
    return found


def facts(
    details: Mapping[str, Any], scores: Mapping[str, Score], manifest: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Facts about the run, as label and text."""
    provenance: dict[str, Any] = details.get("provenance") or {}
    config: dict[str, Any] = details.get("config") or {}
    init = {name: value for name, value in (provenance.get("init") or {}).items() if value}
    began = ", ".join(f"{name} from {value}" for name, value in init.items())
    total, several = sum((details.get("seconds") or {}).values()), config.get("processes", 1)
    took = readable_seconds(total) + (f", shared by {several} processes" if several > 1 else "")
    steps = " steps" + (f" in {provenance['precision']}" if "precision" in provenance else "")
    if minutes := (provenance.get("position") or {}).get("minutes"):
        wanted = recommended_steps(str(provenance.get("recipe")))
        steps += f" in {minutes:.3g} minutes" + (f", where the recipe has {wanted}" if wanted else "")
    rows = {
        "Model": str(details.get("model", "unknown")),
        "Recipe": _joined(provenance.get("recipe"), provenance.get("steps"), steps),
        "Weights used": began or "none: trained from scratch",
        "Parameters": f"{details['parameters']:,}" if "parameters" in details else "",
        "World": _joined(details.get("world"), manifest.get("seed"), "", "seed "),
        "Evaluation": f"{len(scores)} scores in {took}, seed {config.get('seed', 0)}, "
        f"scale {config.get('scale', 1):g}",
        "Fine-tunings": _tunings_in_words(details),
        "Device": f"{details.get('device', 'cpu')}, {details.get('threads', '?')} threads, "
        f"{details.get('precision', 'unknown')} arithmetic, torch {details.get('torch', '?')}",
        "Weights' sha256": str(details.get("weights_sha256", ""))[:16],
    }
    return [(name, text) for name, text in rows.items() if text]


def _joined(first: object, second: object, unit: str = "", before: str = "") -> str:
    texts = (str(first or ""), "" if second is None else f"{before}{second}{unit}")
    return ", ".join(filter(None, texts))


def _tunings_in_words(details: Mapping[str, Any], least: float = math.inf) -> str:
    if not (details.get("config") or {}).get("minutes"):
        return ""
    found: list[str] = []
    for name, one in (details.get("tunings") or {}).items():
        part, comma, baseline = name.partition(", ")
        if one["steps"] < least * one["of"]:
            of = f" of {one['of']}" if one["steps"] < one["of"] else ""
            found.append(f"{part_name(part)}{comma}{baseline} {one['steps']}{of} steps")
    return "; ".join(found)


def small_run(scores: Mapping[str, Score], scale: float) -> str:
    """Why the scores of this evaluation are rough; empty where they are not."""
    fewest = min((scores[key].n for key in headlines(scores)), default=ENOUGH)
    reasons = [f"its scale is {scale:g}, where 1 is the full evaluation"] if scale < 1 else []
    reasons += [f"some of its main scores rest on only {fewest} cases"] if fewest < ENOUGH else []
    return " and ".join(reasons)


def _pretraining_chart(curves: Mapping[str, Curve], looks: Mapping[str, Mapping[str, Curve]]) -> str:
    if not curves:
        return ""
    last = max(max(steps) for steps, _ in curves.values())
    kinds = {"losses": "validation", "average": "validation, average of the weights"}
    panels: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        found = {said: looks[kind][name] for kind, said in kinds.items() if name in looks[kind]}
        panels[loss_name(name)] = {"training" if found else name: curve, **found}
    return small_multiples(panels, columns=3, last=last)


def _tuning_chart(parts: Mapping[Part, PartResult]) -> str:
    panels: dict[str, dict[str, Curve]] = {}
    for part, found in parts.items():
        for name, values in found.curves.items():
            of, _, which = name.partition(", ")
            label = (which if of == part.value else name) or "task"
            panels.setdefault(part_name(part.value), {})[label] = (list(range(1, len(values) + 1)), values)
    return small_multiples(panels, smooth=True) if panels else ""


def flags_of(
    model: Path, details: Mapping[str, Any], scores: Mapping[str, Score], more: Sequence[Flag] = ()
) -> list[Flag]:
    """Flags of the model's training and of the evaluation, after those of the command (`more`). A kind that
    `more` has is not repeated."""
    provenance: Mapping[str, Any] = details.get("provenance") or {}
    recipe, steps = provenance.get("recipe"), provenance.get("steps")
    found = [*more]
    if isinstance(recipe, str) and isinstance(steps, int):
        minutes = (provenance.get("position") or {}).get("minutes", 0.0)
        found += of_pretraining(recipe, steps, run_of(model), minutes=minutes)
    config: Mapping[str, Any] = details.get("config") or {}
    if short := _tunings_in_words(details, ENOUGH_STEPS):
        text = f"the {config['minutes']:.3g} minutes of the evaluation gave {short}: these scores are too low"
        found.append(Flag(FlagKind.TUNED_SHORTER, text))
    if small := small_run(scores, config.get("scale", 1.0)):
        found.append(Flag(FlagKind.ROUGH, f"the scores are rough: {small}"))
    if missing := sum(key not in scores for key in REQUIRED_KEYS):
        text = f"{missing} of the {len(REQUIRED_KEYS)} scores of a whole evaluation were not computed"
        found.append(Flag(FlagKind.INCOMPLETE, text))
    kinds = {flag.what for flag in more}
    if FlagKind.SMOKE in kinds:  # is short by its name, and not for want of --training.steps
        kinds.add(FlagKind.SHORTENED)
    return [flag for place, flag in enumerate(found) if place < len(more) or flag.what not in kinds]
