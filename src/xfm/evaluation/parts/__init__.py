"""The parts of an evaluation, one file a kind of measurement; `PARTS` lists them."""

from collections.abc import Callable
from functools import partial

from xfm.config.evaluation import Part
from xfm.evaluation.context import Context
from xfm.evaluation.parts.matching import run_absence, run_matching
from xfm.evaluation.parts.probes import run_category, run_digits
from xfm.evaluation.parts.tuned import TUNED, run_tuned
from xfm.evaluation.parts.zero_shot import run_hard, run_masked_tokens, run_retrieval
from xfm.reports.scores import PartResult

PARTS: dict[Part, Callable[[Context], PartResult]] = {
    Part.RETRIEVAL: run_retrieval,
    Part.HARD: run_hard,
    Part.MASKED_TOKENS: run_masked_tokens,
    Part.CATEGORY: run_category,
    Part.DIGITS: run_digits,
    Part.MATCHING: run_matching,
    Part.ABSENCE: run_absence,
    **{part: partial(run_tuned, part) for part in TUNED},
}
"""How each part is run. A new part is a member of `Part`, and one file and one line here; if it is a short
fine-tuning, a row of `TUNED` instead."""
