"""Rows of the task files (JSON lines), their pictures, and pixels as evaluation sees them."""

import errno
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from xfm.data.left_out import UnreadablePicture
from xfm.data.pictures import Decoded, PictureError, decode, picture_size, read_picture
from xfm.data.records import Limits, check_box, is_text
from xfm.data.transforms import Normalisation, View, normalise, show
from xfm.errors import UserError, printable
from xfm.files import path_below

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row(Mapping[str, Any]):
    """One row of a task file: a mapping of its fields that knows where it stands.

    The typed getters raise UserError, naming file, row and field, when a value has another type.

    Attributes:
        fields: the fields.
        file: the JSON-lines file.
        number: line number from 1.
    """

    fields: Mapping[str, Any]
    file: Path
    number: int

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def error(self, field: str, problem: str) -> UserError:
        """A UserError about one field of this row."""
        return UserError(f'{self.file}:{self.number}: the field "{field}" {problem}; mend the row.')

    def text(self, field: str) -> str:
        """A string that is not blank."""
        value = self.fields.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.error(field, "is missing, empty or not a string")
        if not is_text(value):
            raise self.error(field, "is not Unicode")
        return value

    def texts(self, field: str) -> list[str]:
        """A list of at least one string."""
        value = self.fields.get(field)
        if not isinstance(value, list) or not value or not all(is_text(v) and v.strip() for v in value):
            raise self.error(field, "is not a list of strings")
        return value

    def flag(self, field: str) -> bool:
        """True or false."""
        value = self.fields.get(field)
        if not isinstance(value, bool):
            raise self.error(field, "is not true or false")
        return value

    def path(self, field: str) -> Path:
        """A file, relative to the folder of the JSON-lines file and at most one folder above it.

        So the folders of several tasks share a folder of pictures beside them.
        """
        return self._below(field, self.text(field))

    def paths(self, field: str) -> list[Path]:
        """Files, each as `path` has it."""
        return [self._below(field, name) for name in self.texts(field)]

    def _below(self, field: str, name: str) -> Path:
        folder = self.file.parent
        path = path_below(folder, name, within=folder / "..")
        if path is None:
            raise self.error(field, "is not a path below the folder above the file's")
        return path

    def box(self, field: str, width: int, height: int) -> tuple[float, float, float, float]:
        """A box [left, top, width, height] in pixels, inside a picture of `width` x `height` pixels."""
        try:
            return check_box(self.fields.get(field), width, height)
        except ValueError as error:
            raise self.error(field, str(error)) from None


def read_rows(path: Path | str, required: Sequence[str] = ()) -> list[Row]:
    """The rows of a JSON-lines file; blank lines are left out.

    Args:
        path: the file.
        required: fields that every row must have.

    Raises:
        UserError: when the file is missing or empty, or a row is not a JSON object or lacks a field.
    """
    rows = list(iterate_rows(Path(path), required))
    if not rows:
        raise UserError(f"{path}: the file holds no rows; check the path or prepare it again.")
    return rows


def iterate_rows(path: Path, required: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a JSON-lines file one by one, as `read_rows` has them."""
    try:
        for number, line in enumerate(_lines(path), start=1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.strip():
                yield _row(path, number, text, required)
    except OSError as error:
        raise UserError(f"{path}: cannot read the file ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the file is not UTF-8 ({error.reason}); save it as UTF-8.") from error


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a regular file (a pipe would block), as long as a row may be."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "it is missing or not a file")
    limit = Limits().annotation_bytes
    with path.open("rb") as file:
        for number in count(1):
            line = file.readline(limit + 1)
            if len(line) > limit:
                raise UserError(f"{path}:{number}: the row has more than {limit} bytes; mend the row.")
            if not line:
                return
            yield line


def _row(path: Path, number: int, line: str, required: Sequence[str]) -> Row:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}:{number}: the row is not valid JSON ({error}); mend the row.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}:{number}: the row is not a JSON object; mend the row.")
    row = Row(values, path, number)
    for field in required:
        if field not in values:
            raise row.error(field, "is missing")
    return row


def load_decoded(path: Path | str, max_pixels: int | None = None) -> Decoded:
    """Read and decode a picture file, whatever its suffix (see `xfm.data.pictures.decode`).

    Raises:
        UnreadablePicture: when the file is missing, too large or does not decode.
    """

    def decoded(data: bytes) -> Decoded:
        return replace(decode(data, max_pixels), mark=blake2b(data, digest_size=8).hexdigest())

    return _used(Path(path), decoded)


def load_image(path: Path | str, max_pixels: int | None = None) -> Tensor:
    """The pixels [3, H, W] uint8 of `load_decoded`; of a file that ends early, a warning is logged once."""
    found = load_decoded(path, max_pixels)
    if found.flaw is not None:
        _warn_once(str(path), found.flaw)
    return found.pixels


@lru_cache(maxsize=1 << 16)
def _warn_once(path: str, flaw: str) -> None:
    _log.warning("used %s in part: %s", printable(path), flaw)


@lru_cache(maxsize=1 << 16)  # many rows share a picture
def image_size(path: Path | str) -> tuple[int, int]:
    """Width and height in pixels of a picture file as it is to be shown (upright), from its header.

    Raises:
        UnreadablePicture: when the file is missing, too large or no picture.
    """
    return _used(Path(path), picture_size)


def _used(path: Path, use: Callable[[bytes], T]) -> T:
    try:
        data = read_picture(path)
    except PictureError as error:  # it names the path
        raise UnreadablePicture(f"{error}; check the path") from error
    try:
        return use(data)
    except PictureError as error:
        raise UnreadablePicture(f"{path}: {error}; replace the file") from error


class PreprocessingLike(Protocol):
    """What evaluation needs to know about a model's pixels (modeling's `Preprocessing` is one)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        ...

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of the channels, for pixels between 0 and 1."""
        ...

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of the channels."""
        ...


def eval_pixels(images: Sequence[Tensor], preprocessing: PreprocessingLike) -> Tensor:
    """Pictures as evaluation sees them: squashed to a square (bicubic, antialiased) and normalised.

    Args:
        images: [3, H, W] uint8 each; sizes may differ.
        preprocessing: side, mean and standard deviation.

    Returns:
        [B, 3, S, S] float32.
    """
    size = preprocessing.shape
    pixels = torch.empty((len(images), 3, *size), dtype=torch.uint8)
    for target, image in zip(pixels, images, strict=True):
        target.copy_(show(image, View(0, 0, image.shape[2], image.shape[1]), size))
    return normalise(pixels, Normalisation(preprocessing.mean, preprocessing.std))
