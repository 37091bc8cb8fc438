"""Files of an evaluation's folder."""

import json
from pathlib import Path
from typing import Any

from xfm.config.evaluation import EvaluationConfig, Part
from xfm.config.plain import first_difference, to_plain
from xfm.core.errors import UserError
from xfm.core.files import read_json_or_nothing as read_object
from xfm.core.files import read_text
from xfm.core.results_folder import DETAILS as DETAILS
from xfm.core.results_folder import free_name
from xfm.reports.scores import PartResult, Score
from xfm.training.flags import Flag, read_flags

METRICS, PARTS_FOLDER = "metrics.json", "parts"
MAY_CHANGE = frozenset({"parts", "batch_size", "device", "max_bad", "keep_models"})
"""Settings of an evaluation on which its results do not depend."""


def stored_flags(out: Path) -> list[Flag]:
    """The flags in a folder's `evaluation.json`; none where there is no such file."""
    try:
        return read_flags(read_object(out / DETAILS))
    except (KeyError, TypeError):
        return []


def part_path(out: Path, part: Part, key: str) -> Path:
    """File of a part's result; the fingerprint is part of its name."""
    return out / PARTS_FOLDER / f"{part.value}-{key[:12]}.json"


def parts_to_keep(out: Path, config: EvaluationConfig) -> list[Part]:
    """Finished parts of the same evaluation in `out`; UserError where its settings differ."""
    try:
        details = read_object(out / DETAILS)
        old, parts = dict(details["config"]), [Part(name) for name in details["seconds"]]
    except (ValueError, KeyError, TypeError):
        return []
    if difference := first_difference(old, to_plain(config), MAY_CHANGE):
        name, before, now = difference
        raise UserError(
            f"{out} holds an evaluation with {name} {before}, this one has {now}: "
            f"give another folder, such as --out {free_name(out)}"
        )
    return parts


def read_part(path: Path, key: str | None = None) -> PartResult | None:
    """A part's stored result; None if missing, damaged or of another fingerprint (`key` None: any)."""
    try:
        content: dict[str, Any] = json.loads(read_text(path))
        if content.pop("fingerprint") != key and key is not None:
            return None
        content["scores"] = {name: Score(**fields) for name, fields in content["scores"].items()}
        result = PartResult(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    tables = (
        *(result.baselines, result.examples, result.curves, result.tunings, result.probes),
        *(result.calibration, result.left_out),
    )
    return result if all(isinstance(table, dict) for table in tables) else None


def left_out_sentence(out: Path) -> str:
    """Which rows an evaluation left out, in a sentence; empty where it left out none."""
    try:
        return read_object(out / DETAILS)["left_out"]["says"]
    except (KeyError, TypeError):
        return ""
