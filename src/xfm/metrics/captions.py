"""Caption metrics of `pycocoevalcap` (BLEU, CIDEr-D, ROUGE-L, METEOR), and a tokenizer without Java.

The tokenizer is the part of Stanford's PTBTokenizer (COCO's) that captions need: possessives and contractions
stand apart (`dog 's`, `do n't`), punctuation is dropped as in the official script. docs/benchmarks.md says
how often the two differ; results say which was used.
"""

import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.core.errors import UserError
from xfm.data.tokenizer import normalise_caption

_DROPPED = frozenset(["'", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_ABBREVIATED = (
    "mr mrs ms dr st jr sr prof gen col capt lt sgt rev hon gov sen rep ave blvd rd mt ft co inc corp ltd "
    "bros dept univ assn vs etc jan feb mar apr jun jul aug sep sept oct nov dec"
)
_PARTS = ("can not", "gon na", "got ta", "wan na", "lem me", "gim me", "'t is", "'t was")
_SPLIT = {parts.replace(" ", ""): parts for parts in _PARTS}
_STOP = r"(?![^\W_])"  # no letter or digit follows
_CLITIC = r"(?:'(?:s|m|d|re|ve|ll)|n't)" + _STOP
_LETTER = r"(?:(?!" + _CLITIC + r")[^\W_])"

# The first that fits is taken, so that the order matters.
_TOKEN = re.compile(
    "|".join(
        (
            r"(?P<web>https?://\S+|[\w.+]+@\w+(?:\.\w+)+|[#@][a-z]\w*|</?[a-z][^<>]*>)",
            r"(?P<clitic>" + _CLITIC + ")",
            r"(?P<short>\b(?:" + "|".join(_ABBREVIATED.split()) + r")\.(?!\w)|\bno\.(?=\s*\d))",
            r"(?P<initials>\b[a-z](?:\.[a-z])+\.|\b[a-z]\.(?!\w))",
            r"(?P<apostrophe>'n'|'(?:cause|em|til|bout)" + _STOP + r"|'\d\ds\b|'(?:tis|twas)\b)",
            r"(?P<amount>(?:(?<!\S)[-+])?[.,:]?\d+(?:[.,:/]\d+)*(?=s?" + _STOP + r")(?!-[^\W_]))",
            r"(?P<name>\b[a-z]'(?!(?:re|ve|ll)\b)[^\W\d_]{2,}|\bma'am\b)",
            r"(?P<word>" + _LETTER + r"+(?:[-./_]" + _LETTER + r"+)*)",
            r"(?P<marks>[?!]+|\.{2,}|-{2,}|[\u2026\u2013\u2014])",
            r"(?P<bracket>[()\[\]{}])",
            r"(?P<other>\S)",
        )
    ),
    re.IGNORECASE,
)
# Typographic apostrophes and quotes.
_TYPOGRAPHIC = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"'})
_ENTITY = "&amp;"


def caption_words(caption: str) -> list[str]:
    """The words of a caption, in lower case and without punctuation."""
    text = " ".join(caption.split()).translate(_TYPOGRAPHIC).replace(_ENTITY, "&")
    words: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match[0].lower()
        if match.lastgroup == "marks":
            words += [token] if token[0] in "?!" and len(token) > 1 else []
        elif match.lastgroup == "bracket":
            words.append(_BRACKETS[token])
        elif token not in _DROPPED and token != '"':
            words += _SPLIT.get(token, token).split()
    return words


def best_word_f1(references: Sequence[str], written: str) -> float:
    """F1 of the word counts of normalised captions, with the reference that agrees most."""
    guess = Counter(normalise_caption(written).split())
    words = [Counter(normalise_caption(reference).split()) for reference in references]
    return max(2 * (true & guess).total() / max(1, true.total() + guess.total()) for true in words)


def word_scores(
    references: Sequence[Sequence[str]], written: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """[N] `best_word_f1` of each caption, and whether it equals a reference, normalised."""
    pairs = list(zip(references, written, strict=True))
    exact = [guess in [normalise_caption(one) for one in own] for own, guess in pairs]
    return {
        "word_f1": np.array([best_word_f1(*pair) for pair in pairs]),
        "exact": np.array(exact, dtype=np.float64),
    }


Captions = Mapping[Any, Sequence[str]]


def has_official_tokenizer() -> bool:
    """Whether Java is installed, and the wrapper of Stanford's PTBTokenizer may write beside itself."""
    spec = find_spec("pycocoevalcap")
    places = list(spec.submodule_search_locations or ()) if spec else []
    writable = bool(places) and all(os.access(place, os.W_OK) for place in places)
    return shutil.which("java") is not None and writable


def caption_scores(
    predicted: Mapping[Any, str], given: Captions, official: bool | None = None, meteor: bool = True
) -> dict[str, float]:
    """Scores of one caption for each picture against people's captions.

    `bleu1` to `bleu4`, `rouge_l` and, with Java, `meteor` lie in [0, 1], `cider_d` in [0, 10];
    `official_words` is 1 where the official tokenizer cut the words (`official`; None: where it can run), so
    that the scores compare with published ones. CIDEr's word statistics are those of `given`: it is
    meaningful for whole test sets only. METEOR takes some seconds to start.
    """
    if predicted.keys() != given.keys() or not predicted:
        raise ValueError("there must be one predicted caption for each picture that has captions")
    if find_spec("pycocoevalcap") is None:
        raise UserError("caption metrics need pycocoevalcap: pip install 'xfm[captions]'")
    official = has_official_tokenizer() if official is None else official
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    references, candidates = (
        _official(texts)
        if official
        else {key: [" ".join(caption_words(one)) for one in captions] for key, captions in texts.items()}
        for texts in (given, {key: [caption] for key, caption in predicted.items()})
    )
    bleu, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    values = {f"bleu{n}": float(value) for n, value in enumerate(bleu, start=1)}
    values["cider_d"] = float(Cider().compute_score(references, candidates)[0])
    values["rouge_l"] = float(Rouge().compute_score(references, candidates)[0])
    if meteor and shutil.which("java"):
        values["meteor"] = float(_meteor_scorer().compute_score(references, candidates)[0])
    return values | {"official_words": float(official)}


def _official(captions: Captions) -> dict[Any, list[str]]:
    if not shutil.which("java"):
        raise UserError("the official tokenizer of captions needs Java: install a Java runtime")
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    # Line breaks of any kind would move the following captions to other pictures.
    rows = {key: [{"caption": " ".join(t.split())} for t in texts] for key, texts in captions.items()}
    return PTBTokenizer().tokenize(rows)


@lru_cache(maxsize=1)
def _meteor_scorer() -> Any:
    """One for the process: it reads its tables of paraphrases for many seconds."""
    from pycocoevalcap.meteor.meteor import Meteor

    return Meteor()
