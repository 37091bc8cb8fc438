"""Consistency of NLVR2 and NLVR: the share of sentences that are judged rightly on all of their pictures."""

from collections.abc import Sequence


def sentence_id(identifier: str) -> str:
    """The sentence that a row is about: its identifier without the number of the pictures.

    `dev-850-0-1` (split, set, pictures, sentence) of NLVR2 and `4055-3` (sentence, picture) of NLVR.

    Raises:
        ValueError: the identifier has neither form.
    """
    parts = identifier.split("-")
    match parts:
        case [split, pictures, _, sentence]:
            return f"{split}-{pictures}-{sentence}"
        case [sentence, _]:
            return sentence
        case _:
            raise ValueError(f"{identifier!r} is neither SPLIT-SET-PAIR-SENTENCE nor SENTENCE-PICTURE")


def consistency(identifiers: Sequence[str], right: Sequence[bool]) -> float:
    """Share of sentences all of whose rows are right.

    Args:
        identifiers: of the rows, in the official form.
        right: whether each row is judged rightly.

    Raises:
        ValueError: there is no row, or an identifier has another form.
    """
    if not identifiers:
        raise ValueError("consistency of nothing is undefined")
    sentences: dict[str, bool] = {}
    for identifier, correct in zip(identifiers, right, strict=True):
        sentence = sentence_id(identifier)
        sentences[sentence] = sentences.get(sentence, True) and correct
    return sum(sentences.values()) / len(sentences)
