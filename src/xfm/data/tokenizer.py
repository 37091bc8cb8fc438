"""Our own byte-level BPE with RoBERTa's special tokens (spec, "Tokens"), or the tokenizer of another model.

Ours has `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, `<mask>` last; no prefix space; two texts as
`<s>a</s></s>b</s>`. Of another one, `[CLS]` and `[SEP]` for example, the roles are found in the file.
"""

import json
import re
import threading
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor

from xfm.config.task_spec import TextRule
from xfm.core.errors import UserError
from xfm.core.files import read_text, reading, write_text
from xfm.data.schema import Tokens
from xfm.data.tokenizer_file import MAX_BYTES, checked_tokenizer

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
MASK_TOKEN = "<mask>"
LONGEST_TOKEN = 256
"""Characters of a token at most: a book in one cell then costs no more memory than what is read of it."""
_SLACK = 128
"""Tokens beyond those that are kept which a text's beginning must have: what is cut through lies in them."""
_SIGNS = ",.'!?\"()*#:;~-/"
_SPACED = str.maketrans(dict.fromkeys(_SIGNS, " "))
_WORD = re.compile(rf"[^\s{re.escape(_SIGNS)}]")
CAPTION_WORDS = 30


def normalise_caption(text: str, max_words: int = CAPTION_WORDS) -> str:
    """Lower-case, signs of the spec to spaces, spaces collapsed, `max_words` words; may become empty."""
    return " ".join(text.lower().translate(_SPACED).split()[:max_words])


def has_words(text: str) -> bool:
    """Whether `normalise_caption` leaves anything of a text."""
    return _WORD.search(text) is not None


class Tokenizer:
    """A `tokenizers.Tokenizer` and the ids of its special tokens.

    `bos` and `eos` stand around every text (one token, where texts have only an end), `unk` is None where the
    vocabulary lacks nothing, `vocab_size` is one more than the largest id. `written`: captions are read as
    they are written, not as X-FM's. UserError: a special token is missing.
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, name: str = "tokenizer.json", written: bool = False
    ) -> None:
        self._backend, self.written = backend, written
        self._lock = threading.Lock()  # how texts are cut is a state of the backend, and threads share it
        self._padding: dict[str, Any] | None = backend.padding
        self._backend.no_padding()
        self._backend.no_truncation()
        empty = backend.encode("")
        found = zip(empty.ids, empty.special_tokens_mask, strict=True)
        frame = [index for index, special in found if special]
        if len(frame) > 2 or not (frame or written):
            told = "a text must stand between two tokens, such as <s> and </s>, or end in one"
            raise UserError(f"{name}: {told}, but {len(frame)} are put around it; take a text encoder's.")
        added = [(index, one) for index, one in backend.get_added_tokens_decoder().items() if one.special]
        roles = {one.content.strip("<>[]|").lower(): index for index, one in added}
        if "pad" in roles:
            self._padding = None
        elif self._padding:
            roles["pad"] = self._padding["pad_id"]
        if missing := [role for role in ("pad", "mask") if role not in roles]:
            told = f"there is no special token <{missing[0]}> or [{missing[0].upper()}]"
            raise UserError(f"{name}: {told}; take the tokenizer of a masked language model, or train one.")
        self.pad, self.mask, self.unk = roles["pad"], roles["mask"], roles.get("unk")
        self.bos, self.eos = (frame[0], frame[-1]) if frame else (self.pad, self.pad)
        special = (self.bos, self.eos, self.pad, self.mask, self.unk)
        self.special_ids: frozenset[int] = frozenset(index for index in special if index is not None)
        """Ids of those tokens."""
        known = np.array(sorted(backend.get_vocab().values()))
        self.vocab_size = int(known[-1]) + 1
        if not np.isin(backend.encode("", "").ids, known).all():
            raise UserError(f"{name}: a token around texts is not in the vocabulary; copy it again.")
        self.ordinary_ids: np.ndarray = np.setdiff1d(known, list(self.special_ids))
        """[N] int64, rising: the ids of all other tokens."""

    @classmethod
    def load(cls, path: Path | str, written: bool = False) -> "Tokenizer":
        """Read a `tokenizer.json`; raises UserError when the file is missing or is not a tokenizer."""
        path = Path(path)
        try:
            with reading(path, "give the path of a tokenizer.json"):
                backend = parse_tokenizer(read_text(path, MAX_BYTES))
            backend.encode("")
        except (KeyboardInterrupt, SystemExit, UserError):
            raise
        except BaseException as error:  # the Rust side raises bare Exception; its panics are not even that
            what = str(error).partition("; use sys.")[0]
            raise UserError(f"{path}: not a tokenizer.json ({what}); write it again.") from error
        return cls(backend, str(path), written)

    def save(self, path: Path | str) -> None:
        """Write a `tokenizer.json`, replacing an older one in one go."""
        write_text(Path(path), self.to_json())

    def to_json(self) -> str:
        """The tokenizer as the text of a `tokenizer.json`."""
        with self._lock:
            self._backend.no_truncation()  # what the last call needed is no part of the tokenizer
            if self._padding:  # no token is called <pad>: the file says it
                self._backend.enable_padding(pad_id=self.pad, pad_token=self._padding["pad_token"])
            told = self._backend.to_str()
            self._backend.no_padding()
        return json.dumps(json.loads(told), ensure_ascii=False, indent=1) + "\n"

    def __getstate__(self) -> tuple[str, bool]:
        return self.to_json(), self.written

    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.__init__(parse_tokenizer(state[0]), written=state[1])

    def as_caption(self, text: str, max_words: int = CAPTION_WORDS) -> str:
        """A caption as the model reads it: `normalise_caption`, unless it takes captions as written."""
        return text if self.written else normalise_caption(text, max_words)

    def as_read(self, rule: TextRule, text: str, longest: int, words: int = 0) -> str:
        """A text as a task reads it, of at most `longest` tokens and `words` words (0: as many as the rule
        has), in training and in answers alike."""
        if rule is TextRule.WRITTEN:
            return text
        return self.as_caption(text, words or (longest if rule is TextRule.LONG_CAPTION else CAPTION_WORDS))

    def encode_batch(self, texts: Sequence[str], max_tokens: int) -> Tokens:
        """`<s>text</s>` (or `[CLS]text[SEP]`) for every text, cut at `max_tokens`."""
        with self._lock:
            return self._encode(self._beginnings(texts, max_tokens), max_tokens)

    def count(self, texts: Sequence[str], max_tokens: int) -> int:
        """How many tokens `encode_batch` gives the texts together, without the tokens."""
        with self._lock:
            beginnings = self._beginnings(texts, max_tokens)
            self._truncate(max_tokens)
            return sum(map(len, self._backend.encode_batch_fast(beginnings)))

    def encode_pairs(self, a: Sequence[str], b: Sequence[str], max_tokens: int) -> Tokens:
        """`<s>a</s></s>b</s>` (or `[CLS]a[SEP]b[SEP]`) for every pair, the longer text cut first."""
        with self._lock:
            first, second = (self._beginnings(texts, max_tokens) for texts in (a, b))
            return self._encode(list(zip(first, second, strict=True)), max_tokens)

    def encode_lists(self, texts: Sequence[str], max_tokens: int) -> list[tuple[list[int], list[int | None]]]:
        """Ids of every text and the word of each (None: a special token), not padded, for masking."""
        with self._lock:
            beginnings = self._beginnings(texts, max_tokens)
            self._truncate(max_tokens)
            encodings = self._backend.encode_batch(beginnings)
        return [(encoding.ids, encoding.word_ids) for encoding in encodings]

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The text of one row of ids, special tokens left out."""
        rows = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        return self._backend.decode(rows, skip_special_tokens=True)

    def id_to_token(self, index: int) -> str | None:
        """The vocabulary item at `index` in byte-level letters, None beyond the vocabulary."""
        return self._backend.id_to_token(index)

    def _truncate(self, max_tokens: int) -> None:
        self._backend.enable_truncation(max_length=max_tokens, strategy="longest_first")

    def _beginnings(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """The parts of texts that hold their first tokens; the library would make tokens of everything."""
        needed, most = max_tokens + _SLACK, max(1 << 16, LONGEST_TOKEN * max_tokens)
        size = 8 * needed  # characters; of few texts is a token longer on average
        found = [text[:size] for text in texts]
        places = [place for place, text in enumerate(texts) if len(text) > size]
        self._truncate(needed)
        encoded = self._backend.encode_batch_fast([found[place] for place in places]) if places else ()
        for place, one in zip(places, encoded, strict=True):
            if len(one) < needed:
                found[place] = texts[place][:most]
        return found

    def _encode(self, inputs: list, max_tokens: int) -> Tokens:
        self._truncate(max_tokens)
        found = [encoding.ids for encoding in self._backend.encode_batch(inputs)]
        real = filled(found, max(map(len, found), default=0))
        return Tokens(padded(found, real, self.pad), torch.from_numpy(real))


def filled(rows: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """[R, length] bool: as many places of each as the row has numbers."""
    return np.arange(length) < np.array([len(row) for row in rows], dtype=np.int64)[:, None]


def padded(rows: Sequence[Sequence[int]], real: np.ndarray, value: int) -> Tensor:
    """[R, T] int64: the rows where a table is True, and `value` elsewhere."""
    table = np.full(real.shape, value, dtype=np.int64)
    table[real] = np.fromiter(chain.from_iterable(rows), np.int64)
    return torch.from_numpy(table)


def parse_tokenizer(text: str) -> tokenizers.Tokenizer:
    """The tokenizer in the text of a `tokenizer.json`; raises any Exception. The scores of a unigram model
    are read digit for digit: the library's own reader may miss the last, which changes close choices."""
    backend = tokenizers.Tokenizer.from_str(checked_tokenizer(text))
    content = json.loads(text)
    if isinstance(padding := content.get("padding"), dict):
        index = padding.get("pad_id")
        if not isinstance(index, int) or (token := backend.id_to_token(index)) is None:
            raise ValueError("padding.pad_id: the vocabulary has no such token")
        backend.enable_padding(pad_id=index, pad_token=token)
    if isinstance(backend.model, models.Unigram):
        stored = content["model"]
        pieces = [(piece, score) for piece, score in stored["vocab"]]
        backend.model = models.Unigram(pieces, stored.get("unk_id"), bool(stored.get("byte_fallback")))
    return backend


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE vocabulary of at most `vocab_size` items, special tokens included, on texts as
    the model will see them (normalise captions first); depends on them alone. ValueError if too small."""
    smallest = 256 + len(SPECIAL_TOKENS) + 1
    if vocab_size < smallest:
        raise ValueError(f"vocab_size must be at least {smallest} (256 bytes and the special tokens)")
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,  # the mask token comes last
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    # As RoBERTa's, it swallows the space in front: in "a <mask> dog" it stands where " red" would.
    backend.add_special_tokens([tokenizers.AddedToken(MASK_TOKEN, lstrip=True, special=True)])
    around = ("</s>", 2), ("<s>", 0)
    backend.post_processor = processors.RobertaProcessing(*around, trim_offsets=True, add_prefix_space=False)
    return Tokenizer(backend)
