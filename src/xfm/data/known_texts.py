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
    """A text as token ids [T], special ones included, and first position and end of every word that may be
    masked."""

    ids: list[int]
    words: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Kept:
    """The same in a sixth of the memory: the words as first, end, first, end, ..."""

    ids: array
    words: array


class KnownTexts:
    """Token cache of one process, of at most `room` tokens. Nothing is ever dropped: what no longer fits is
    tokenised each time."""

    def __init__(self, tokenizer: Tokenizer, room: int = MOST_TOKENS) -> None:
        self.tokenizer = tokenizer
        self._room = room
        self._kept: dict[tuple[str, int, bool], _Kept] = {}

    def __len__(self) -> int:
        """Texts that are kept."""
        return len(self._kept)

    def read(self, texts: Sequence[str], max_tokens: int, whole_word: bool) -> list[TokenText]:
        """The texts as at most `max_tokens` tokens each; all that are not cached go through the tokenizer in
        one call."""
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
