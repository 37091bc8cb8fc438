"""Files of an evaluation's folder."""

import json
from pathlib import Path
from typing import Any

from xfm.evaluation.context import PartResult
from xfm.evaluation.scores import Score

METRICS, DETAILS, PARTS_FOLDER = "metrics.json", "evaluation.json", "parts"


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
