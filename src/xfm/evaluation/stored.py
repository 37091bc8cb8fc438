"""Files of an evaluation's folder."""

import json
from pathlib import Path
from typing import Any

from xfm.config.evaluation import EvaluationConfig, Part
from xfm.config.plain import completed, first_difference, to_plain
from xfm.errors import UserError
from xfm.evaluation.context import PartResult
from xfm.evaluation.scores import Score
from xfm.files import read_text

METRICS, DETAILS, PARTS_FOLDER = "metrics.json", "evaluation.json", "parts"
MAY_CHANGE = frozenset({"parts", "batch_size", "device", "max_bad"})
"""Settings of an evaluation on which its results do not depend."""


def part_path(out: Path, part: Part, key: str) -> Path:
    """Where a part's result is kept; results of other settings, model or world have other fingerprints."""
    return out / PARTS_FOLDER / f"{part.value}-{key[:12]}.json"


def parts_to_keep(out: Path, weights: str, world: Path, config: EvaluationConfig) -> list[Part]:
    """Parts of the evaluation that `out` holds which stay beside those of a new one.

    Args:
        out: folder for the results.
        weights: digest of the model that is to be evaluated.
        world: the world.
        config: the new evaluation, as it was given.

    Raises:
        UserError: `out` holds an evaluation that the new one would replace by less or by something else.
    """
    try:
        details = json.loads(read_text(out / DETAILS))
        old, parts = completed(details["config"], config), [Part(name) for name in details["seconds"]]
        same_world = Path(details["world"]).resolve() == world.resolve()
        same_model = same_world and details["weights_sha256"] == weights
    except (OSError, ValueError, KeyError, TypeError):
        return []
    new = to_plain(config)
    difference = first_difference(old, new, MAY_CHANGE)
    if same_model and difference is None:
        return parts
    others = [part.value for part in parts if part not in config.resolved().parts]
    if difference and (others or any(old.get(name) != new[name] for name in ("scale", "validation"))):
        name, before, now = difference
        raise UserError(
            f"{out} holds an evaluation with {name} {before}, this one has {now}: "
            "give another folder with --out"
        )
    if others:
        raise UserError(
            f"{out} holds an evaluation of another model or world that also has {', '.join(others)}: "
            "give another folder with --out"
        )
    return []


def read_part(path: Path, key: str | None = None) -> PartResult | None:
    """A part's stored result; None if there is none, or it is damaged or of another fingerprint.

    Args:
        path: the file.
        key: fingerprint that it must have; None takes any.
    """
    try:
        content: dict[str, Any] = json.loads(read_text(path))
        if content.pop("fingerprint") != key and key is not None:
            return None
        content["scores"] = {name: Score(**fields) for name, fields in content["scores"].items()}
        result = PartResult(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    tables = (result.baselines, result.examples, result.curves, result.left_out)
    return result if all(isinstance(table, dict) for table in tables) else None


def left_out_sentence(out: Path) -> str:
    """Which rows an evaluation left out, in a sentence; empty where it left out none."""
    try:
        return json.loads((out / DETAILS).read_text(encoding="utf-8"))["left_out"]["says"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
