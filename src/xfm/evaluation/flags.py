"""What was out of the ordinary in a pre-training that is evaluated, and in the evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xfm.evaluation.report import phase_ends, shorter_tunings, small_run
from xfm.reports.scores import REQUIRED_KEYS, Score
from xfm.results_folder import run_of
from xfm.training.flags import Flag, What, of_pretraining


def flags_of(
    model: Path, details: Mapping[str, Any], scores: Mapping[str, Score], more: Sequence[Flag] = ()
) -> list[Flag]:
    """Flags of the model's training and of the evaluation.

    Args:
        model: folder of the model, in that of its run.
        details: of `evaluation.json`: provenance and configuration.
        scores: what was computed.
        more: those of the command around it, which come first; one of a kind takes the place of others.
    """
    provenance: Mapping[str, Any] = details.get("provenance") or {}
    recipe, steps = provenance.get("recipe"), provenance.get("steps")
    found = [*more]
    if isinstance(recipe, str) and isinstance(steps, int):
        minutes = (provenance.get("position") or {}).get("minutes", 0.0)
        found += of_pretraining(recipe, steps, run_of(model), phase_ends(details), minutes=minutes)
    config: Mapping[str, Any] = details.get("config") or {}
    if short := shorter_tunings(details):
        text = f"the {config['minutes']:.3g} minutes of the evaluation gave {short}: these scores are too low"
        found.append(Flag(What.TUNED_SHORTER, text))
    if small := small_run(scores, config.get("scale", 1.0)):
        found.append(Flag(What.ROUGH, f"the scores are rough: {small}"))
    if missing := sum(key not in scores for key in REQUIRED_KEYS):
        text = f"{missing} of the {len(REQUIRED_KEYS)} scores of a whole evaluation were not computed"
        found.append(Flag(What.INCOMPLETE, text))
    kinds = {flag.what for flag in more}
    if What.SMOKE in kinds:  # is short by its name, and not for want of --training.steps
        kinds.add(What.SHORTENED)
    return [flag for place, flag in enumerate(found) if place < len(more) or flag.what not in kinds]
