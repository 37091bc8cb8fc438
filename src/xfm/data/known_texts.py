"""Texts as masking takes them, kept, so that none is made tokens of in every epoch anew."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from xfm.data.masking import maskable
from xfm.data.tokenizer import Tokenizer

MOST_TOKENS = 1 << 21
"""That are kept: with what is around them, of short texts some 50 MB in a process."""


@dataclass(frozen=True)
class TokenText:
    """A text as tokens.

    Attributes:
        ids: [T] its tokens, special ones included.
        words: first position and end of every word that may be masked, in order.
    """

    ids: list[int]
    words: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Kept:
    """The same in a sixth of the memory: the words as first, end, first, end, ..."""

    ids: array
    words: array


class KnownTexts:
    """What texts are as tokens, for one process.

    Nothing is ever dropped: what no longer fits is made tokens of each time.

    Args:
        tokenizer: the vocabulary.
        room: most tokens that are kept.
    """

    def __init__(self, tokenizer: Tokenizer, room: int = MOST_TOKENS) -> None:
        self.tokenizer = tokenizer
        self._room = room
        self._kept: dict[tuple[str, int, bool], _Kept] = {}

    def __len__(self) -> int:
        """Texts that are kept."""
        return len(self._kept)

    def read(self, texts: Sequence[str], max_tokens: int, whole_word: bool) -> list[TokenText]:
        """The texts as tokens, all that are not known in one call of the tokenizer.

        Args:
            texts: the texts.
            max_tokens: most tokens of a text, special ones included.
            whole_word: whether all pieces of a word are masked or none.
        """
        keys = [(text, max_tokens, whole_word) for text in texts]
        new = dict.fromkeys(key for key in keys if key not in self._kept)
        read: dict[tuple[str, int, bool], TokenText] = {}
        encoded = self.tokenizer.encode_lists([text for text, _, _ in new], max_tokens) if new else []
        for key, (ids, word_ids) in zip(new, encoded, strict=True):
            read[key] = TokenText(ids, maskable(ids, word_ids, whole_word, self.tokenizer))
            self._keep(key, read[key])
        return [read[key] if key in read else _unpacked(self._kept[key]) for key in keys]

    def _keep(self, key: tuple[str, int, bool], text: TokenText) -> None:
        if len(text.ids) > self._room:
            return
        self._room -= len(text.ids)
        words = array("i", (place for word in text.words for place in word))
        self._kept[key] = _Kept(array("i", text.ids), words)


def _unpacked(kept: _Kept) -> TokenText:
    places = kept.words.tolist()
    return TokenText(kept.ids.tolist(), list(zip(places[::2], places[1::2], strict=True)))
