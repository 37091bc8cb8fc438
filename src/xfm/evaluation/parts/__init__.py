"""The parts of an evaluation, one file a kind of task; `PARTS` lists them."""

from collections.abc import Callable

from xfm.config.evaluation import Part
from xfm.evaluation.context import Context
from xfm.evaluation.parts.grounding import run_grounding
from xfm.evaluation.parts.masked_tokens import run_masked_tokens
from xfm.evaluation.parts.probes import run_category, run_digits
from xfm.evaluation.parts.reasoning import run_reasoning
from xfm.evaluation.parts.retrieval import run_hard, run_retrieval
from xfm.evaluation.parts.text_pairs import run_entailment, run_paraphrase
from xfm.evaluation.parts.vqa import run_vqa
from xfm.reports.results import PartResult

PARTS: dict[Part, Callable[[Context], PartResult]] = {
    Part.RETRIEVAL: run_retrieval,
    Part.HARD: run_hard,
    Part.MASKED_TOKENS: run_masked_tokens,
    Part.CATEGORY: run_category,
    Part.DIGITS: run_digits,
    Part.ENTAILMENT: run_entailment,
    Part.PARAPHRASE: run_paraphrase,
    Part.VQA: run_vqa,
    Part.REASONING: run_reasoning,
    Part.GROUNDING: run_grounding,
}
"""How each part is run; a new part is one file, one member of `Part` and one line here."""
