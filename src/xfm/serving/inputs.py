"""What a request holds, as pipelines take it: pictures as data, or at allowed addresses; never as paths."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from xfm.config.task_spec import Field, Holds
from xfm.core.errors import UserError, excerpt
from xfm.core.paths import is_url

_DATA = "data:"
_HEAD = 200  # characters in which a data URL comes to its comma


def is_data(text: str) -> bool:
    """Whether a text is a data URL."""
    return text[: len(_DATA)].lower() == _DATA


@dataclass(frozen=True)
class Sent:
    """A picture as it was sent: a data URL, or an address of an allowed host. Equal ones are read once."""

    value: str


def sent_in(given: Mapping[str, Any]) -> Iterator[Sent]:
    """The pictures of an input."""
    for value in given.values():
        yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Sent))


def with_pictures(given: Mapping[str, Any], read: Mapping[Sent, Any]) -> dict[str, Any]:
    """An input with pictures that were read in the place of those that were sent."""
    return {
        name: [read.get(one, one) if isinstance(one, Sent) else one for one in value]
        if isinstance(value, list)
        else read.get(value, value)
        if isinstance(value, Sent)
        else value
        for name, value in given.items()
    }


class Inputs:
    """Turns values of requests into inputs of pipelines.

    Args:
        hosts: from which pictures may be fetched.
    """

    def __init__(self, hosts: frozenset[str]) -> None:
        self._hosts = hosts

    def picture(self, value: object) -> Sent:
        """A data URL, or an address of an allowed host; nothing of it is read yet.

        Raises:
            UserError: it is neither.
        """
        if isinstance(value, Mapping) and isinstance(value.get("url"), str):  # as chat requests wrap it
            value = value["url"]
        if not isinstance(value, str):
            raise UserError(f"a picture is a data URL such as data:image/png;base64,..., not {_kind(value)}")
        if is_data(value):
            head, comma, _ = value[:_HEAD].partition(",")
            if not comma or not head.endswith(";base64"):
                raise UserError(
                    "a data URL of a picture is data:image/png;base64,... with the file's bytes in base64"
                )
            return Sent(value)
        if not is_url(value):
            raise UserError(
                f"{excerpt(value)} is no picture: send a data URL such as data:image/png;base64,...; files "
                "of the server cannot be asked for"
            )
        host = host_of(value)
        if host not in self._hosts:
            allowed = f"only from {', '.join(sorted(self._hosts))}" if self._hosts else "from nowhere"
            raise UserError(f"pictures are fetched {allowed}; send the picture itself as a data URL")
        return Sent(value)

    def of_task(self, given: object, fields: tuple[Field, ...]) -> dict[str, Any]:
        """An input of a task: its fields by name.

        Raises:
            UserError: it is no object, or a picture is none.
        """
        if not isinstance(given, Mapping):
            raise UserError(
                f"an input is an object with {', '.join(one.name for one in fields)}, not {_kind(given)}"
            )
        pictures = {name for one in fields if one.holds is Holds.PICTURE for name in one.names}
        pictures |= {part for one in fields for part in one.parts}
        several = {name for one in fields if one.holds is Holds.TWO_PICTURES for name in one.names}
        found: dict[str, Any] = {}
        for name, value in given.items():
            if value is not None and name in pictures:
                value = self.picture(value)
            elif name in several and isinstance(value, list):
                value = [self.picture(one) for one in value]
            found[name] = value
        return found

    def text_or_picture(self, value: object) -> dict[str, Any]:
        """A text, a data URL, or an object with one of the two -> `{"text"}` or `{"image"}`.

        Raises:
            UserError: it is something else.
        """
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


def decoded(sent: Sent) -> bytes:
    """The bytes of a data URL.

    Raises:
        UserError: it is damaged.
    """
    try:
        return base64.b64decode(sent.value.partition(",")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"the base64 of a picture is damaged ({error})") from None


def host_of(url: str) -> str:
    """The host of an address, in small letters; nothing where it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _kind(value: object) -> str:
    kinds: dict[type, str] = {dict: "an object", list: "a list", type(None): "null", bool: "true or false"}
    return kinds.get(type(value), "a text" if isinstance(value, str) else "a number")
