"""Inputs of users, checked and read."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from xfm.config.pipelines import UrlRules
from xfm.config.task_spec import Field, FieldKind
from xfm.core.errors import UserError, excerpt, suggest
from xfm.core.paths import home_path, is_url
from xfm.data.fetch import fetch
from xfm.data.images import ImageError, decode, load_image, to_uint8
from xfm.data.records import is_text
from xfm.models.artifacts import framed
from xfm.models.folder import Preprocessing

PictureSource = str | Path | bytes | Image.Image | np.ndarray | Tensor
"""A path, an address, the bytes of a file, a PIL picture, a uint8 array [H, W, 3] or tensor [3, H, W]."""

RECENT = 512  # pictures by path of which the next rows probably need one again


@dataclass(frozen=True)
class InputImage:
    """A picture as the model takes it: pixels [3, S, S] uint8; width and height of the original, upright.
    `key` is equal for equal pixels."""

    pixels: Tensor
    width: int
    height: int
    key: bytes


def is_image_input(value: object) -> bool:
    """Whether a value is certainly a picture: a string may be a text or a path."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind not in "OSTU"
    return isinstance(value, Path | bytes | Image.Image | Tensor)


def read_original(source: object, urls: UrlRules | None = None) -> Tensor:
    """A picture as given, [3, H, W] uint8, upright; `urls` None fetches nothing. UserError: no picture,
    unreadable, too large, or an address that is not allowed."""
    if isinstance(source, str) and not source.strip():
        raise UserError("the path of the picture is empty; give one such as 'a.png'")
    if isinstance(source, str) and is_url(source):
        if urls is None:
            raise UserError(f"{source}: addresses are not fetched unless allow_urls=True; or give a file")
        return _decoded(fetch(source, urls), source)
    if isinstance(source, str | Path):
        return load_image(home_path(source))
    if isinstance(source, bytes):
        return _decoded(source, "the bytes of the picture")
    if not isinstance(source, Image.Image | np.ndarray | Tensor):
        raise UserError(
            "a picture must be a path such as 'a.png', the bytes of a file, a PIL picture, a uint8 array or "
            f"tensor, not {type(source).__name__}"
        )
    return to_uint8(source).cpu()


def _decoded(data: bytes, name: str) -> Tensor:
    try:
        return decode(data)
    except ImageError as error:
        raise UserError(f"{name}: {error}; replace it") from error


class ImageReader:
    """Reads and frames pictures, for any number of threads; remembers the last `recent` paths."""

    def __init__(self, preprocessing: Preprocessing, urls: UrlRules | None, recent: int = RECENT) -> None:
        # Of a function without this reader: a cycle would keep its pictures until a full collection.
        self._framed = functools.partial(_framed, preprocessing, urls)
        self._remembered = functools.lru_cache(recent)(self._framed)

    def read(self, source: object) -> InputImage:
        """The picture; UserError as of `read_original`."""
        if isinstance(source, InputImage):
            return source
        return self._remembered(source) if isinstance(source, str | Path) else self._framed(source)


def _framed(preprocessing: Preprocessing, urls: UrlRules | None, source: object) -> InputImage:
    original = read_original(source, urls)
    pixels = framed(original, preprocessing).contiguous()
    key = hashlib.blake2b(pixels.numpy().tobytes(), digest_size=16).digest()
    return InputImage(pixels, original.shape[2], original.shape[1], key)


class InputError(UserError):
    """An unusable input: its `number` from 0, and the `reason`."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"input {number}: {reason}")
        self.number, self.reason = number, reason


@dataclass(frozen=True)
class Item:
    """An input that was read: texts as the model reads them, pictures, and the original text for answers."""

    texts: tuple[str, ...] = ()
    pictures: tuple[InputImage, ...] = ()
    shown: str = ""


def field_names(fields: Sequence[Field]) -> dict[str, Field]:
    """The field of every name that a value may be given by."""
    return {name: field for field in fields for name in (*field.names, *field.parts)}


def by_field(given: object, fields: Sequence[Field], options: Sequence[str] = ()) -> dict[str, object]:
    """An input as values by field; a bare value is the field that it fits. UserError: a field is missing,
    unknown or given twice, or a bare value fits several."""
    if isinstance(given, UserError):  # of what could not be read
        raise given
    if not isinstance(given, Mapping):
        if given is None:
            raise UserError(f"the input is None; give what the task takes, such as {example(fields)}")
        if isinstance(given, list | tuple):
            raise UserError(f"an input is {example(fields)}, not a {type(given).__name__}")
        wanted = FieldKind.PICTURE if is_image_input(given) else FieldKind.TEXT
        fitting = [field for field in fields if not field.optional]
        if not fitting:
            fitting = [field for field in fields if field.holds is wanted][:1]
        if len(fitting) != 1:
            raise UserError(
                f"an input has several parts: give {example(fields)}, not a bare {type(given).__name__}"
            )
        return {fitting[0].name: given}
    names = field_names(fields)
    if unknown := [key for key in given if key not in names]:
        hint = suggest(str(unknown[0]), [*names, *options], f"an input has {_listed(fields)}")
        raise UserError(f"there is no field {excerpt(str(unknown[0]))!r}; {hint}")
    full = {key: value for key, value in given.items() if value is not None}
    found: dict[str, object] = {}
    for field in fields:
        ways = field.ways(full)
        if len(ways) > 1:
            raise UserError(f"the field {field.name} is given twice; leave one of its names out")
        if not ways and not field.optional:
            raise UserError(f"the field {field.name} is missing; an input has {_listed(fields)}")
        for way in ways:
            if lacking := [part for part in way if part not in full]:
                together = " and ".join(way)
                raise UserError(f"the field {lacking[0]} is missing; give {together}, or {field.name}")
            found[field.name] = full[way[0]] if len(way) == 1 else [full[part] for part in way]
    return found


_SAMPLES = {FieldKind.TEXT: "a text", FieldKind.PICTURE: "a.png", FieldKind.TWO_PICTURES: ["a.png", "b.png"]}


def example(fields: Sequence[Field]) -> str:
    """An example input as Python and JSON write it, for messages."""
    samples = {field.name: _SAMPLES[field.holds] for field in fields}
    either = all(field.optional for field in fields)
    forms = [{name: sample} for name, sample in samples.items()] if either else [samples]
    return " or ".join(json.dumps(form) for form in forms)


def _listed(fields: Sequence[Field]) -> str:
    return ", ".join(f.name + (" (optional)" if f.optional else "") for f in fields)


def read_field(field: Field, value: object, reader: ImageReader) -> list[InputImage] | str:
    """The value of a field; UserError: of another kind, or an unreadable picture."""
    if field.holds is FieldKind.TEXT:
        if not isinstance(value, str):
            raise UserError(
                f"{field.name} must be a text, not {type(value).__name__}; give one such as 'a text'"
            )
        if not is_text(value):  # half a surrogate pair, which no tokenizer takes
            raise UserError(f"{field.name} is not Unicode; mend the text")
        return value
    if field.holds is FieldKind.PICTURE:
        return [reader.read(value)]
    if not isinstance(value, list | tuple | Tensor) or len(value) != 2:
        found = f"a list of {len(value)}" if isinstance(value, list | tuple) else type(value).__name__
        raise UserError(f"{field.name} must be a list of two pictures, not {found}")
    return [reader.read(one) for one in value]
