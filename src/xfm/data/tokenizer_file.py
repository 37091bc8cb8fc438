"""What a `tokenizer.json` may hold, checked before the library builds anything of it.

The library does what the file says: a few replacements that double a text take all memory, a padding of a
thousand million tokens, too. So only known parts are let through, and of each only as much as any tokenizer
of a text encoder has, many times over.
"""

import base64
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from xfm.core.errors import excerpt

MAX_BYTES = 64 << 20
"""Bytes of the file."""
MAX_ID, MAX_CHARACTERS = 10_000_000, 8_000_000
"""Ids of tokens, and characters of all tokens together."""
MAX_ADDED = 1_000_000
"""Characters of all added tokens together."""
MAX_GROWTH = 100
"""Times that normalizer and pre-tokenizer together may lengthen a text."""
_PARTS, _SHORT, _LONG = 32, 32, 1000  # parts in a row, characters of an affix, of a token or a pattern
_DEEPEST = 4
_NORMALIZERS = frozenset({
    "BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Strip", "StripAccents", "Replace",
    "Prepend", "Precompiled", "ByteLevel", "Sequence",
})  # fmt: skip
_PRE_TOKENIZERS = frozenset({
    "BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "Metaspace",
    "Punctuation", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit", "Sequence",
})  # fmt: skip
_PROCESSORS = frozenset({
    "BertProcessing", "RobertaProcessing", "ByteLevel", "TemplateProcessing", "Sequence",
})  # fmt: skip
_DECODERS = frozenset({
    "BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Replace", "Strip", "WordPiece",
    "Sequence",
})  # fmt: skip
_MODELS = frozenset(("BPE", "Unigram", "WordLevel", "WordPiece"))
_INNER = {
    "normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders",
    "post_processor": "processors",
}  # fmt: skip
_AFFIXES = ("prepend", "prefix", "suffix", "delimiter", "replacement", "pad_token", "word_delimiter_token")
_ENDS = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_CLITICS = "'s|'t|'re|'ve|'m|'ll|'d"
_MODERN = rf"(?i:{_CLITICS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n"
_UPPER, _LOWER = (rf"[\p{{L{kind}}}\p{{Lm}}\p{{Lo}}\p{{M}}]" for kind in (r"u}\p{Lt", "l"))
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_CLIP = rf"{_CLITICS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
KNOWN_PATTERNS = frozenset({
    " {2,}", r"\s+", r"\s{2,}|[\n\r\t]", r"\n", r"[\n\r\t]", r"[\r\n]", r"\p{N}{1,3}", "[0-9][0-9][0-9]",
    rf"{_CLITICS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+",  # GPT-2, RoBERTa
    _CLIP, rf"<\|startoftext\|>|<\|endoftext\|>|{_CLIP}",
    *(rf"{_MODERN}\p{{N}}{many}{_SIGNS}]*{_ENDS}" for many in ("", "{1,3}")),  # Qwen; GPT-4, Llama, EuroBERT
    rf"(?i:{_CLITICS})?".join((*_CASED, rf"|\p{{N}}{{1,3}}{_SIGNS}/]*{_ENDS}")),  # GPT-4o, Llama 4
    "".join((*_CASED, rf"|\p{{N}}{_SIGNS}/]*{_ENDS}")),  # Mistral
})  # fmt: skip
"""Regular expressions that are run: those of models that people use, which match something and are not slow.

Others may take for ever, or end in a panic of the library, at a text that somebody sends.
"""


def checked_tokenizer(text: str) -> str:
    """The text of a `tokenizer.json`, written anew without its padding and truncation, so that the library
    reads what has been checked. Raises ValueError where a part is not known, or out of all proportion."""
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    known = _check_vocabulary(content)
    growth = 1.0
    for name, kinds in (("normalizer", _NORMALIZERS), ("pre_tokenizer", _PRE_TOKENIZERS)):
        growth *= math.prod(_growth(part, place) for part, place in _parts(content, name, kinds))
    if growth > MAX_GROWTH:
        raise ValueError(
            f"normalizer and pre_tokenizer may lengthen a text {growth:.3g} times, more than the limit of "
            f"{MAX_GROWTH}"
        )
    decoders = _parts(content, "decoder", _DECODERS)
    if math.prod(_growth(part, place) for part, place in decoders) > MAX_GROWTH:
        raise ValueError("decoder: it lengthens a text out of all proportion")
    for part, place in _parts(content, "post_processor", _PROCESSORS):
        _check_processor(part, place, known)
    return json.dumps({**content, "padding": None, "truncation": None})


# ---------------------------------------------------------------- tokens and ids
def _check_vocabulary(content: Mapping[str, Any]) -> frozenset[int]:
    model = content.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind not in _MODELS:
        raise ValueError(f"model: the type is {_shown(kind)}, none of {', '.join(sorted(_MODELS))}")
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        tokens, ids = list(vocabulary), [_id(index, "model.vocab") for index in vocabulary.values()]
    elif isinstance(vocabulary, list) and all(isinstance(one, list) and len(one) == 2 for one in vocabulary):
        tokens, ids = [token for token, _ in vocabulary], list(range(len(vocabulary)))
    else:
        raise ValueError("model.vocab: it is neither an object nor a list of pairs")
    _check_tokens(tokens, "model.vocab", MAX_CHARACTERS)
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "unk_token"):
        _short(model.get(name), f"model.{name}", _LONG if name == "unk_token" else _SHORT)
    most = model.get("max_input_chars_per_word", 100)
    if not isinstance(most, int) or not 0 <= most <= _LONG:
        raise ValueError(f"model.max_input_chars_per_word: {_shown(most)} is not in 0 to {_LONG}")
    added = content.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(one, dict) for one in added):
        raise ValueError("added_tokens: it is no list of objects")
    _check_tokens([one.get("content") for one in added], "added_tokens", MAX_ADDED, least=1)
    return frozenset([*ids, *(_id(one.get("id"), "added_tokens") for one in added)])


def _check_tokens(tokens: Iterable[Any], place: str, most: int, least: int = 0) -> None:
    total = 0
    for token in tokens:
        if not isinstance(token, str) or not least <= len(token) <= _LONG:
            raise ValueError(f"{place}: {_shown(token)} is no token of {least} to {_LONG} characters")
        total += len(token)
    if total > most:
        raise ValueError(f"{place}: its tokens have {total} characters, more than the limit of {most}")


def _id(index: Any, place: str) -> int:
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < MAX_ID:
        raise ValueError(f"{place}: {_shown(index)} is no id of a token (0 to {MAX_ID})")
    return index


# ---------------------------------------------------------------- parts in a row
def _parts(content: Mapping[str, Any], name: str, kinds: frozenset[str]) -> list[tuple[dict[str, Any], str]]:
    found: list[tuple[dict[str, Any], str]] = []

    def unroll(part: Any, place: str, depth: int) -> None:
        kind = part.get("type") if isinstance(part, dict) else part
        if not isinstance(part, dict) or not isinstance(kind, str) or kind not in kinds:
            raise ValueError(f"{place}: the type is {_shown(kind)}, none of {', '.join(sorted(kinds))}")
        if kind != "Sequence":
            found.append((part, place))
            if len(found) > _PARTS:
                raise ValueError(f"{name}: it has more than {_PARTS} parts")
            return
        inner = part.get(_INNER[name])
        if not isinstance(inner, list) or depth == _DEEPEST:
            raise ValueError(f"{place}: it is too deep, or its {_INNER[name]} are no list")
        for number, one in enumerate(inner):
            unroll(one, f"{place}.{_INNER[name]}[{number}]", depth + 1)

    if content.get(name) is not None:
        unroll(content[name], name, 0)
    return found


def _growth(part: Mapping[str, Any], place: str) -> float:
    for name in _AFFIXES:
        _short(part.get(name), f"{place}.{name}", _SHORT)
    pattern = part.get("pattern")
    if pattern is not None:
        _check_pattern(pattern, f"{place}.pattern")
    match part["type"]:
        case "Replace":
            return _growth_of_replacement(pattern, part.get("content"), place)
        case "Precompiled":
            return _growth_of_table(part.get("precompiled_charsmap"), place)
        case "ByteLevel" | "Metaspace":  # two bytes for a byte; a sign before every word
            return 2.0
        case "Prepend":
            return 1.0 + len(part.get("prepend") or "")
    return 1.0


def _check_pattern(pattern: Any, place: str) -> None:
    match pattern:
        case {"Regex": str(text)} if text in KNOWN_PATTERNS:
            return
        case {"String": str(text)} if 0 < len(text) <= _LONG:
            return
    raise ValueError(f"{place}: {_shown(pattern)} is neither a text nor a pattern of a known model")


def _growth_of_replacement(pattern: Any, content: Any, place: str) -> float:
    _short(content, f"{place}.content", _LONG)
    if not isinstance(pattern, dict) or not isinstance(content, str):
        raise ValueError(f"{place}: a Replace has a pattern, a String or a Regex, and a content")
    return max(1.0, len(content) / len(pattern.get("String", " ")))


def _growth_of_table(table: Any, place: str) -> float:
    """SentencePiece's table, which may claim to be longer than it is: the library would abort."""
    if not isinstance(table, str) or len(table) > 4 << 20:
        raise ValueError(f"{place}: the table is no text of at most 4 MiB")
    content = base64.b64decode(table)
    length = int.from_bytes(content[:4], "little")
    if length > max(0, len(content) - 4):
        raise ValueError("the table of its normalizer is cut off")
    return max(1.0, *(float(len(one)) for one in content[4 + length :].split(b"\0")), 1.0)


def _check_processor(part: Mapping[str, Any], place: str, known: frozenset[int]) -> None:
    named: list[Any] = [part[name] for name in ("sep", "cls") if name in part]
    ids = [pair[1] if isinstance(pair, list) and len(pair) == 2 else pair for pair in named]
    if part["type"] == "TemplateProcessing":
        for name in ("single", "pair"):
            pieces = part.get(name)
            if not isinstance(pieces, list | str) or len(pieces) > (
                _LONG if isinstance(pieces, str) else _PARTS
            ):
                raise ValueError(f"{place}.{name}: it is no template of at most {_PARTS} pieces")
        tokens = part.get("special_tokens") or {}
        listed = tokens.values() if isinstance(tokens, dict) else tokens
        for token in listed if isinstance(listed, Iterable) else ():
            inner = token.get("ids") if isinstance(token, dict) else None
            if not isinstance(inner, list) or len(inner) > _PARTS:
                raise ValueError(f"{place}.special_tokens: a token's ids are no list of at most {_PARTS}")
            ids += inner
    for index in ids:
        if isinstance(index, bool) or not isinstance(index, int) or index not in known:
            raise ValueError(f"{place}: the id {_shown(index)} is not in the vocabulary")


def _short(value: Any, place: str, most: int) -> None:
    if value is not None and (not isinstance(value, str) or len(value) > most):
        raise ValueError(f"{place}: {_shown(value)} is no text of at most {most} characters")


def _shown(value: Any) -> str:
    return excerpt(repr(value[:60] if isinstance(value, str) else value))
