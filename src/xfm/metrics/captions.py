"""Caption metrics through `pycocoevalcap`: BLEU, CIDEr-D, ROUGE-L, and METEOR where Java is there.

The numbers depend on how captions are cut into words. The official tokenizer is Stanford's, a Java program;
it is used where Java is there. Without Java, `xfm.metrics.words` cuts; a result always says
which did.
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
    """What cuts captions into words.

    official: Stanford's PTBTokenizer through Java, as the COCO server has it.
    plain: `caption_words`, which needs no Java.
    """

    OFFICIAL = "official"
    PLAIN = "plain"


def available_tokenizer() -> CaptionTokenizer:
    """The official one where Java is there and its wrapper may write beside itself, as it does."""
    spec = find_spec("pycocoevalcap")
    places = list(spec.submodule_search_locations or ()) if spec else []
    writable = bool(places) and all(os.access(place, os.W_OK) for place in places)
    return CaptionTokenizer.OFFICIAL if shutil.which("java") and writable else CaptionTokenizer.PLAIN


@dataclass(frozen=True)
class CaptionScores:
    """Caption metrics; BLEU, ROUGE-L and METEOR lie from 0 to 1, CIDEr-D from 0 to 10.

    Attributes:
        values: by name: `bleu1` to `bleu4`, `cider_d`, `rouge_l` and, with Java, `meteor`.
        cutter: what cut the captions into words.
    """

    values: Mapping[str, float]
    cutter: CaptionTokenizer

    @property
    def is_official(self) -> bool:
        """Whether the official tokenizer cut the words, so that the numbers compare with published ones."""
        return self.cutter is CaptionTokenizer.OFFICIAL


def caption_scores(
    predicted: Mapping[int | str, str],
    given: Captions,
    cutter: CaptionTokenizer | None = None,
    meteor: bool = True,
) -> CaptionScores:
    """Score one caption for each picture against the captions that people wrote.

    CIDEr's word statistics are those of `given`, so that it has a meaning for whole test sets only.

    Args:
        predicted: a caption by picture.
        given: the captions of people by picture; the same pictures.
        cutter: what cuts captions into words; None takes the official one where it can run.
        meteor: compute METEOR too, where Java is there; it takes some seconds to start.

    Raises:
        UserError: pycocoevalcap is missing, or the official cutter is asked for and Java is missing.
        ValueError: the pictures differ, or there are none.
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
