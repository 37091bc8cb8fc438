"""Inputs of requests as pipelines take them: pictures as data or at allowed addresses, never as paths."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any
from urllib.parse import urlsplit

from xfm.config.inference import Generation
from xfm.config.pipelines import AnswerOptions, TopK
from xfm.config.task_spec import Field, FieldKind
from xfm.core.errors import UserError, excerpt, explained
from xfm.core.paths import is_url
from xfm.data.records import is_text

_DATA = "data:"
_HEAD = 200  # characters in which a data URL comes to its comma


def is_data(text: str) -> bool:
    """Whether a text is a data URL."""
    return text[: len(_DATA)].lower() == _DATA


@dataclass(frozen=True)
class SentImage:
    """A picture as sent: a data URL, or an address of an allowed host. Equal ones are read once."""

    value: str


def sent_in(given: Mapping[str, Any]) -> Iterator[SentImage]:
    """The pictures of an input."""
    for value in given.values():
        yield from (
            one for one in (value if isinstance(value, list) else [value]) if isinstance(one, SentImage)
        )


def with_images(given: Mapping[str, Any], read: Mapping[SentImage, Any]) -> dict[str, Any]:
    """An input with its pictures read."""

    def shown(value: Any) -> Any:
        return read.get(value, value) if isinstance(value, SentImage) else value

    return {
        name: [*map(shown, value)] if isinstance(value, list) else shown(value)
        for name, value in given.items()
    }


class RequestImages:
    """Values of requests as inputs of pipelines; pictures may be fetched from `hosts`."""

    def __init__(self, hosts: frozenset[str]) -> None:
        self._hosts = hosts

    def picture(self, value: object) -> SentImage:
        """A data URL, or an address of an allowed host, not read yet; raises UserError."""
        for wrapped in ("image", "url"):  # as other inputs have it, and as chat requests wrap it
            value = value.get(wrapped, value) if isinstance(value, Mapping) else value
        if not isinstance(value, str):
            raise UserError(f"a picture is a data URL such as data:image/png;base64,..., not {_kind(value)}")
        if is_data(value):
            head, comma, _ = value[:_HEAD].partition(",")
            if not comma or not head.endswith(";base64"):
                raise UserError(
                    "a data URL of a picture is data:image/png;base64,... with the file's bytes in base64"
                )
            return SentImage(value)
        if not is_url(value):
            raise UserError(
                f"{excerpt(value)} is no picture: send a data URL such as data:image/png;base64,...; files "
                "of the server cannot be asked for"
            )
        host = host_of(value)
        if host not in self._hosts:
            allowed = f"only from {', '.join(sorted(self._hosts))}" if self._hosts else "from nowhere"
            raise UserError(f"pictures are fetched {allowed}; send the picture itself as a data URL")
        return SentImage(value)

    def of_task(self, given: object, fields: tuple[Field, ...]) -> dict[str, Any]:
        """An input of a task by field; raises UserError."""
        if not isinstance(given, Mapping):
            raise UserError(
                f"an input is an object with {', '.join(one.name for one in fields)}, not {_kind(given)}"
            )
        pictures = {name for one in fields if one.holds is FieldKind.PICTURE for name in one.names}
        pictures |= {part for one in fields for part in one.parts}
        several = {name for one in fields if one.holds is FieldKind.TWO_PICTURES for name in one.names}
        found: dict[str, Any] = {}
        for name, value in given.items():
            if value is not None and name in pictures:
                value = self.picture(value)
            elif name in several and isinstance(value, list):
                value = [self.picture(one) for one in value]
            found[name] = value
        return found

    def text_or_image(self, value: object) -> dict[str, Any]:
        """A text, a data URL, or an object of one -> `{"text"}` or `{"image"}`; raises UserError."""
        if isinstance(value, str):
            return {"image": self.picture(value)} if is_data(value) else {"text": value}
        if isinstance(value, Mapping):
            kind = value.get("type")
            if kind == "image_url" or "image_url" in value:
                return {"image": self.picture(value.get("image_url"))}
            if "image" in value and value.get("text") is None:
                return {"image": self.picture(value["image"])}
            if isinstance(value.get("text"), str) and value.get("image") is None:
                return {"text": value["text"]}
        raise UserError('an input is a text, a data URL, {"text": ...} or {"image": data URL}')


def decoded(sent: SentImage) -> bytes:
    """The bytes of a data URL; UserError: damaged."""
    with explained("the base64 of a picture is damaged", "send it anew", ValueError):
        return base64.b64decode(sent.value.partition(",")[2], validate=True)


def host_of(url: str) -> str:
    """The lower-case host of an address, or nothing."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _kind(value: object) -> str:
    kinds: dict[type, str] = {dict: "an object", list: "a list", type(None): "null", bool: "true or false"}
    return kinds.get(type(value), "a text" if isinstance(value, str) else "a number")


TOP, WRITTEN, LISTED = 100, 16, 4096
"""Most candidates of an answer; most texts that are written, and beams; most entries of an option's lists."""
_MOST: dict[type, dict[str, int]] = {
    AnswerOptions: {"top_k": WRITTEN, "beams": WRITTEN},
    Generation: {"texts": WRITTEN, "beams": WRITTEN},
    TopK: {"top_k": TOP},
}


def check_texts(given: Mapping[str, Any], longest: int) -> None:
    """Refuse texts longer than `longest` characters."""
    for name, value in given.items():
        if isinstance(value, str) and len(value) > longest:
            raise UserError(f"{name} has {len(value)} characters, and a text may have {longest}: cut it")


def check_options(task: str, options: Any, longest: int) -> None:
    """Refuse options with which one request would keep the model for minutes."""
    lists = {name: value for name, value in vars(options).items() if isinstance(value, list)}
    for name, value in lists.items():
        if (size := sum(map(len, value))) > longest:
            raise UserError(f"{name} has {size} characters together, and may have {longest}: cut it")
        if not all(map(is_text, value)):
            raise UserError(f"{name} holds what is not Unicode; mend it")
    if prod(max(1, len(value)) for value in lists.values()) > LISTED:
        raise UserError(f"{' times '.join(lists)} may have {LISTED} entries: give fewer")
    if task == "fill-mask" and options.top_k == 0:
        raise UserError(f"top_k is 0, which asks for the whole vocabulary: give {TOP} at most")
    for name, limit in next((most for kind, most in _MOST.items() if isinstance(options, kind)), {}).items():
        if getattr(options, name) > limit:
            raise UserError(f"{name} is {getattr(options, name)}, and a request may ask for {limit}")
