"""VQA accuracy (Antol et al., 2015) as the official scorer computes it: `GT-Vision-Lab/VQA`, `vqaEval.py`.

An answer counts min(1, n / 3), where n of nine people gave it, averaged over the ten ways to leave one out.
Predictions are normalised (punctuation, number words, articles, contractions); people's answers only lose
their punctuation, and only where they do not all agree.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

from xfm.data.tokenizer import normalise_caption

ENOUGH = 0.3
"""Share of the votes from which an answer is wholly right: three of ten, as VQA v2 has it."""
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
"""The signs that are removed or turned to spaces."""
ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {word: str(value) for value, word in enumerate(_NUMBERS)} | {"none": "0"}
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_MAX_PERIODS = 32  # the official call gives re.UNICODE (32) where the largest number of replacements belongs

_WHOLE = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd "
    "how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock "
    "oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's "
    "something'd something'll that's there'd there're there's they'd they'll they're they've 'twas "
    "wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll "
    "who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've"
)
"""Contractions that are recognised without any apostrophe."""
_TWO = "hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've something'd've"
_TWO += " there'd've they'd've we'd've who'd've wouldn't've you'd've couldn't've y'all'll"
"""Contractions of three words, recognised where one of the two apostrophes is missing."""


def _contractions() -> dict[str, str]:
    """The published table. Its entries with capitals never apply, since answers are lower case by then."""
    table = {word.replace("'", ""): word for word in _WHOLE.split()}
    for word in _TWO.split():
        first, second, third = word.split("'")
        table[f"{first}{second}'{third}"] = table[f"{first}'{second}{third}"] = word
    table |= dict.fromkeys(("ow's'at", "'ows'at", "'ow'sat"), "'ow's'at")
    table |= dict.fromkeys(("yall'd've", "y'alld've", "y'all'dve"), "y'all'd've")
    return table | {"somebody'd": "somebodyd"}  # the table has this one the wrong way round


CONTRACTIONS = _contractions()


def normalise_answer(answer: str) -> str:
    """A predicted answer as it is compared."""
    line = answer.replace("\n", " ").replace("\t", " ").strip()
    words = (DIGITS.get(word, word) for word in strip_punctuation(line).lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def strip_punctuation(answer: str) -> str:
    """An answer without the signs of `PUNCTUATION`, and without periods except before a digit.

    A sign vanishes if it stands beside a space, or the answer has a comma between digits; else it becomes a
    space.
    """
    digits = _DIGIT_COMMA_DIGIT.search(answer) is not None
    stripped = answer
    for sign in PUNCTUATION:
        if sign in answer:
            vanishes = digits or f"{sign} " in answer or f" {sign}" in answer
            stripped = stripped.replace(sign, "" if vanishes else " ")
    return _PERIOD.sub("", stripped, count=_MAX_PERIODS)


def answer_accuracy(predicted: str, given: Sequence[str]) -> float:
    """Accuracy in [0, 1] of one answer; ValueError without people's answers."""
    if not given:
        raise ValueError("accuracy without any person's answer is undefined")
    theirs = [strip_punctuation(answer) for answer in given] if len(set(given)) > 1 else list(given)
    ours = normalise_answer(predicted)
    agreeing = [answer == ours for answer in theirs]
    total = sum(agreeing)
    return sum(min(1.0, (total - own) / 3) for own in agreeing) / len(agreeing)


def vqa_score(
    predicted: Sequence[str], given: Sequence[Sequence[str]], types: Sequence[str]
) -> tuple[float, dict[str, float]]:
    """Official score of Q questions, ten answers each, and by type of answer: `yes/no`, `number`, `other`."""
    if not predicted:
        raise ValueError("accuracy of nothing is undefined")
    values: dict[str, list[float]] = defaultdict(list)
    for guess, answers, kind in zip(predicted, given, types, strict=True):
        values[kind].append(answer_accuracy(guess, answers))
    everything = [value for own in values.values() for value in own]
    means = {kind: sum(own) / len(own) for kind, own in sorted(values.items())}
    return sum(everything) / len(everything), means


def voted_accuracy(predicted: str, votes: Sequence[tuple[str, float]]) -> float:
    """Share of the votes for an answer over `ENOUGH`, at most 1; compared normalised as captions."""
    wanted = normalise_caption(predicted)
    return min(1.0, sum(part for answer, part in votes if normalise_caption(answer) == wanted) / ENOUGH)
