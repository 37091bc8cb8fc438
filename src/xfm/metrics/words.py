"""Words of captions: overlap, and a Penn Treebank tokenizer without Java.

This is the part of Stanford's PTBTokenizer (COCO's) that captions need: possessives and contractions stand
apart (`dog 's`, `do n't`), hyphenated words, numbers and abbreviations stay whole, and punctuation is dropped
as in the official script. `docs/benchmarks.md` says how often the two differ.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xfm.data.tokenizer import normalise_caption

_DROPPED = frozenset(["'", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_ABBREVIATED = (
    "mr mrs ms dr st jr sr prof gen col capt lt sgt rev hon gov sen rep ave blvd rd mt ft co inc corp ltd "
    "bros dept univ assn vs etc jan feb mar apr jun jul aug sep sept oct nov dec"
)
_SPLIT = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "lemme": "lem me",
    "gimme": "gim me",
    "'tis": "'t is",
    "'twas": "'t was",
}
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


def word_f1(reference: str, written: str) -> float:
    """F1 of the word counts of two normalised captions."""
    true, guess = (Counter(normalise_caption(text).split()) for text in (reference, written))
    common = (true & guess).total()
    return 2 * common / max(1, true.total() + guess.total())


def best_word_f1(references: Sequence[str], written: str) -> float:
    """`word_f1` with the reference that agrees most."""
    return max(word_f1(reference, written) for reference in references)


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
