"""Questions as people write them: `horse + stripes - brown`, `query.jpg + 2 * night`."""

import os
import re
from pathlib import Path

from xfm.core.errors import UserError, excerpt
from xfm.core.paths import home_path
from xfm.data.images import PICTURE_SUFFIXES, RAW_SUFFIXES
from xfm.inference.input_parsing import InputImage

Term = tuple[float, str | Path | InputImage]
"""A weight, below 0 where the term is subtracted, and a text or a picture."""
_SIGN = re.compile(r'(?<!\S)(?:"[^"]*"(?!\S)|([+-])(?!\S))')  # or a term in quotes
_TERM = re.compile(r'(?s)(?:(\d{1,3}(?:\.\d{1,3})?) \* )?\s*(?:"([^"]*)"|(.*))\Z')


def parse_terms(question: str) -> list[Term]:
    """Terms of a question, which ` + ` and ` - ` join: each a text or a picture, with a weight (`2 * night`).

    A term in double quotes is a text as it stands; any other with a picture's suffix is the path of a file.
    UserError: an empty term, a weight of 0, no such file.
    """
    signs = [(found[1], *found.span()) for found in _SIGN.finditer(question) if found[1]]
    if not signs or question[: signs[0][1]].strip():
        signs.insert(0, ("+", 0, 0))
    ends = [begin for _, begin, _ in signs[1:]] + [len(question)]
    return [_term(sign, question[begin:end]) for (sign, _, begin), end in zip(signs, ends, strict=True)]


def _term(sign: str, written: str) -> Term:
    number, quoted, plain = _TERM.findall(written.strip())[0]
    text, weight = quoted or plain, float(f"{sign}{number or 1}")
    if not text.strip() or not weight:
        told = f"{sign} {excerpt(written.strip())} is no term of a question"
        raise UserError(f"{told}; a text that has + or - between spaces stands in double quotes")
    path = home_path(plain)
    if path.suffix.lower() not in PICTURE_SUFFIXES | RAW_SUFFIXES:
        return weight, text
    if not os.path.isfile(path):
        raise UserError(f"there is no picture {excerpt(text)}; mend the path, or put a text in double quotes")
    return weight, path
