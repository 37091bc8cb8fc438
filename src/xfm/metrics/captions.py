"""Caption metrics of `pycocoevalcap`: BLEU, CIDEr-D, ROUGE-L, and METEOR where Java is installed.

The scores depend on the tokenizer: Stanford's (Java), or `xfm.metrics.words` without Java; results say which.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from xfm.core.errors import UserError
from xfm.metrics.words import caption_words

Captions = Mapping[int | str, Sequence[str]]


class CaptionTokenizer(StrEnum):
    """Stanford's PTBTokenizer (Java), as on the COCO server, or `caption_words`."""

    OFFICIAL = "official"
    PLAIN = "plain"


def available_tokenizer() -> CaptionTokenizer:
    """The official one if Java is installed and its wrapper may write beside itself."""
    spec = find_spec("pycocoevalcap")
    places = list(spec.submodule_search_locations or ()) if spec else []
    writable = bool(places) and all(os.access(place, os.W_OK) for place in places)
    return CaptionTokenizer.OFFICIAL if shutil.which("java") and writable else CaptionTokenizer.PLAIN


@dataclass(frozen=True)
class CaptionScores:
    """`bleu1` to `bleu4`, `rouge_l`, `meteor` in [0, 1], `cider_d` in [0, 10], and the tokenizer."""

    values: Mapping[str, float]
    cutter: CaptionTokenizer

    @property
    def is_official(self) -> bool:
        """Whether the numbers compare with published ones."""
        return self.cutter is CaptionTokenizer.OFFICIAL


def caption_scores(
    predicted: Mapping[int | str, str],
    given: Captions,
    cutter: CaptionTokenizer | None = None,
    meteor: bool = True,
) -> CaptionScores:
    """Scores of one caption for each picture against people's captions.

    CIDEr's word statistics are those of `given`: it is meaningful for whole test sets only. METEOR takes some
    seconds to start.
    """
    if predicted.keys() != given.keys() or not predicted:
        raise ValueError("there must be one predicted caption for each picture that has captions")
    if find_spec("pycocoevalcap") is None:
        raise UserError("caption metrics need pycocoevalcap: pip install 'xfm[captions]'")
    cutter = cutter or available_tokenizer()
    cut = _CUTTERS[cutter]
    references = cut(given)
    candidates = cut({key: [caption] for key, caption in predicted.items()})
    values = _python_scores(references, candidates)
    if meteor and shutil.which("java"):
        values["meteor"] = float(_meteor_scorer().compute_score(references, candidates)[0])
    return CaptionScores(values, cutter)


def _plain(captions: Captions) -> dict[int | str, list[str]]:
    return {key: [" ".join(caption_words(caption)) for caption in texts] for key, texts in captions.items()}


def _official(captions: Captions) -> dict[int | str, list[str]]:
    if not shutil.which("java"):
        raise UserError(
            "the official tokenizer of captions needs Java: install a Java runtime, or choose `plain`"
        )
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    # Line breaks of any kind would move the following captions to other pictures.
    rows = {key: [{"caption": " ".join(t.split())} for t in texts] for key, texts in captions.items()}
    return PTBTokenizer().tokenize(rows)


_CUTTERS: Mapping[CaptionTokenizer, Callable[[Captions], dict[int | str, list[str]]]] = {
    CaptionTokenizer.OFFICIAL: _official,
    CaptionTokenizer.PLAIN: _plain,
}


def _python_scores(
    references: dict[int | str, list[str]], candidates: dict[int | str, list[str]]
) -> dict[str, float]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    bleu, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    values = {f"bleu{n}": float(value) for n, value in enumerate(bleu, start=1)}
    values["cider_d"] = float(Cider().compute_score(references, candidates)[0])
    return values | {"rouge_l": float(Rouge().compute_score(references, candidates)[0])}


@lru_cache(maxsize=1)
def _meteor_scorer() -> Any:
    """One for the process: it reads its tables of paraphrases for many seconds."""
    from pycocoevalcap.meteor.meteor import Meteor

    return Meteor()
