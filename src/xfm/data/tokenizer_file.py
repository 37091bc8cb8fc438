"""Checks of a `tokenizer.json` before the library builds anything of it. The library does what the file says:
a few replacements that double a text take all memory. So only known parts pass, and of each only as much as
any tokenizer of a text encoder has, many times over."""

import base64
import json
import math
from collections.abc import Iterable
from typing import Any

from xfm.core.errors import excerpt

MAX_BYTES = 64 << 20
"""Bytes of the file."""
MAX_ID, MAX_CHARACTERS = 10_000_000, 8_000_000
"""Ids of tokens, and characters of all tokens together."""
MAX_ADDED = 1_000_000
"""Characters of all added tokens together."""
MAX_GROWTH = 100
"""Times that normalizer and pre-tokenizer together, or the decoder, may lengthen a text."""
_PARTS, _LONGEST, _DEEPEST = 32, 1000, 12  # items of a list, characters of a text, levels
_MODELS = frozenset(("BPE", "Unigram", "WordLevel", "WordPiece"))
_TYPES = frozenset({
    "BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Strip", "StripAccents", "Replace",
    "Prepend", "Precompiled", "ByteLevel", "Sequence", "BertPreTokenizer", "CharDelimiterSplit", "Digits",
    "Metaspace", "Punctuation", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit", "BertProcessing",
    "RobertaProcessing", "TemplateProcessing", "BPEDecoder", "ByteFallback", "CTC", "Fuse", "WordPiece",
}) | _MODELS  # fmt: skip
_ENDS = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_CLITICS = "'s|'t|'re|'ve|'m|'ll|'d"
_MODERN = rf"(?i:{_CLITICS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n"
_UPPER, _LOWER = (rf"[\p{{L{kind}}}\p{{Lm}}\p{{Lo}}\p{{M}}]" for kind in (r"u}\p{Lt", "l"))
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
PUNCTUATION = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
"""What SigLIP leaves out of texts."""
_CLIP = rf"{_CLITICS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
KNOWN_PATTERNS = frozenset({
    " {2,}", r"\s+", r"\s{2,}|[\n\r\t]", r"\n", r"[\n\r\t]", r"[\r\n]", r"\p{N}{1,3}", "[0-9][0-9][0-9]",
    rf"{_CLITICS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+",  # GPT-2, RoBERTa
    PUNCTUATION, _CLIP, rf"<\|startoftext\|>|<\|endoftext\|>|{_CLIP}",
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
    model = content.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind not in _MODELS:
        raise ValueError(f"model: the type is {_shown(kind)}, none of {', '.join(sorted(_MODELS))}")
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list) and all(isinstance(one, list) and len(one) == 2 for one in vocabulary):
        vocabulary = {token: index for index, (token, _) in enumerate(vocabulary) if isinstance(token, str)}
    if not isinstance(vocabulary, dict):
        raise ValueError("model.vocab: it is neither an object nor a list of pairs")
    _check_tokens(vocabulary.items(), "model.vocab", MAX_CHARACTERS)
    _growth({name: value for name, value in model.items() if name not in ("vocab", "merges")}, "model")
    most = model.get("max_input_chars_per_word", 100)
    if not isinstance(most, int) or most > _LONGEST:  # a word costs their square
        raise ValueError(f"model.max_input_chars_per_word: {_shown(most)} is not in 0 to {_LONGEST}")
    added = content.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(one, dict) for one in added):
        raise ValueError("added_tokens: it is no list of objects")
    _check_tokens([(one.get("content"), one.get("id")) for one in added], "added_tokens", MAX_ADDED, least=1)
    parts = ("normalizer", "pre_tokenizer", "decoder", "post_processor")
    growth = {name: _growth(content.get(name), name) for name in parts}
    if (grown := growth["normalizer"] * growth["pre_tokenizer"]) > MAX_GROWTH:
        times = f"{grown:.3g} times, more than the limit of {MAX_GROWTH}"
        raise ValueError(f"normalizer and pre_tokenizer may lengthen a text {times}")
    if growth["decoder"] > MAX_GROWTH:
        raise ValueError("decoder: it lengthens a text out of all proportion")
    return json.dumps({**content, "padding": None, "truncation": None})


def _check_tokens(tokens: Iterable[tuple[Any, Any]], place: str, most: int, least: int = 0) -> None:
    total = 0
    for token, index in tokens:
        if not isinstance(token, str) or not least <= len(token) <= _LONGEST:
            raise ValueError(f"{place}: {_shown(token)} is no token of {least} to {_LONGEST} characters")
        if type(index) is not int or not 0 <= index < MAX_ID:
            raise ValueError(f"{place}: {_shown(index)} is no id of a token (0 to {MAX_ID})")
        total += len(token)
    if total > most:
        raise ValueError(f"{place}: its tokens have {total} characters, more than the limit of {most}")


def _growth(part: Any, place: str, depth: int = 0) -> float:
    """How many times longer a part may make a text; refuses types, patterns and sizes that nobody has."""
    if depth > _DEEPEST:
        raise ValueError(f"{place}: it is too deep")
    if isinstance(part, str) and len(part) > _LONGEST:
        raise ValueError(f"{place}: {_shown(part)} is no text of at most {_LONGEST} characters")
    if isinstance(part, int) and not 0 <= part < MAX_ID:
        raise ValueError(f"{place}: {part} is not in 0 to {MAX_ID}")
    if isinstance(part, list):
        if len(part) > _PARTS:
            raise ValueError(f"{place}: it has more than {_PARTS} parts")
        return math.prod(_growth(one, f"{place}[{number}]", depth + 1) for number, one in enumerate(part))
    if not isinstance(part, dict):
        return 1.0
    kind = part.get("type")
    if kind is not None and (not isinstance(kind, str) or kind not in _TYPES):
        raise ValueError(f"{place}: the type is {_shown(kind)}, none of {', '.join(sorted(_TYPES))}")
    if "Regex" in part and (not isinstance(part["Regex"], str) or part["Regex"] not in KNOWN_PATTERNS):
        raise ValueError(f"{place}: {_shown(part)} is neither a text nor a pattern of a known model")
    inner = {name: value for name, value in part.items() if name != "precompiled_charsmap"}
    grown = math.prod(_growth(value, f"{place}.{name}", depth + 1) for name, value in inner.items())
    match kind:
        case "Replace":
            pattern, content = part.get("pattern"), part.get("content")
            if not isinstance(pattern, dict) or not isinstance(content, str):
                raise ValueError(f"{place}: a Replace has a pattern, a String or a Regex, and a content")
            grown *= max(1.0, len(content) / max(1, len(pattern.get("String", " "))))
        case "Precompiled":
            table = part.get("precompiled_charsmap")  # SentencePiece's
            if not isinstance(table, str) or len(table) > 4 << 20:
                raise ValueError(f"{place}: the table is no text of at most 4 MiB")
            content = base64.b64decode(table)
            length = int.from_bytes(content[:4], "little")
            if length > max(0, len(content) - 4):  # the library would abort
                raise ValueError("the table of its normalizer is cut off")
            grown *= max(1, *map(len, content[4 + length :].split(b"\0")))
        case "ByteLevel" | "Metaspace":  # two bytes for a byte; a sign before every word
            grown *= 2
        case "Prepend":
            grown *= 1 + len(part.get("prepend") or "")
    return grown


def _shown(value: Any) -> str:
    return excerpt(repr(value[:60] if isinstance(value, str) else value))
