"""Files of an evaluation's folder."""

import json
from pathlib import Path
from typing import Any

from xfm.config.evaluation import EvaluationConfig, Part
from xfm.config.plain import completed, first_difference, to_plain
from xfm.errors import UserError
from xfm.evaluation.context import PartResult
from xfm.evaluation.scores import Score
from xfm.training.flags import Flag, read_flags

METRICS, DETAILS, PARTS_FOLDER = "metrics.json", "evaluation.json", "parts"
MAY_CHANGE = frozenset({"parts", "batch_size", "device"})
"""Settings of an evaluation on which its results do not depend."""


def stored_flags(out: Path) -> list[Flag]:
    """The flags in a folder's `evaluation.json`; none where there is no such file."""
    try:
        details = json.loads((out / DETAILS).read_text(encoding="utf-8"))
        return read_flags(details)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


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
        details = json.loads((out / DETAILS).read_text(encoding="utf-8"))
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
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("fingerprint") != key and key is not None:
            return None
        content["scores"] = {name: Score(**fields) for name, fields in content["scores"].items()}
        result = PartResult(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    tables = (result.baselines, result.examples, result.curves)
    return result if all(isinstance(table, dict) for table in tables) else None
