"""What one request may cost: pixels of its pictures, lengths of its texts, sizes of its options."""

import threading
from collections.abc import Mapping
from math import prod
from typing import Any

from xfm.config.pipelines import AnswerOptions, Best, CaptionOptions
from xfm.core.errors import UserError
from xfm.data.records import is_text

TOP, WRITTEN, LISTED = 100, 16, 4096
"""Most candidates of an answer; most texts that are written, and beams; most entries of an option's lists."""


class Pixels:
    """The pixels that the pictures of one request may have together; for all threads.

    Args:
        most: of them.
    """

    def __init__(self, most: int) -> None:
        self._most, self._left, self._lock = most, most, threading.Lock()

    def take(self, width: int, height: int) -> None:
        """Count a picture before it is decoded.

        Raises:
            UserError: there are too many.
        """
        with self._lock:
            self._left -= width * height
            if self._left < 0:
                raise UserError(
                    f"the pictures of a request may have {self._most} pixels together: shrink or split them"
                )


def check_texts(given: Mapping[str, Any], longest: int) -> None:
    """Refuse an input with a text that is longer than any model reads.

    Raises:
        UserError: names the field.
    """
    for name, value in given.items():
        if isinstance(value, str) and len(value) > longest:
            raise UserError(f"{name} has {len(value)} characters, and a text may have {longest}: cut it")


def check_options(task: str, options: Any, longest: int) -> None:
    """Refuse options with which a single request would keep the model for minutes.

    Args:
        task: its name.
        options: of the task, each of the right kind.
        longest: characters of a text.

    Raises:
        UserError: names the option.
    """
    lists = {name: value for name, value in vars(options).items() if isinstance(value, list)}
    for name, value in lists.items():
        if (size := sum(map(len, value))) > longest:
            raise UserError(f"{name} has {size} characters together, and may have {longest}: cut it")
        if not all(map(is_text, value)):
            raise UserError(f"{name} holds what is not Unicode; mend it")
    if prod(max(1, len(value)) for value in lists.values()) > LISTED:
        raise UserError(f"{' times '.join(lists)} may have {LISTED} entries: give fewer")
    most: dict[str, int] = {}
    if isinstance(options, AnswerOptions | CaptionOptions):
        most = {"texts": WRITTEN, "beams": WRITTEN}
        most |= {"top_k": WRITTEN} if isinstance(options, AnswerOptions) else {}
    elif isinstance(options, Best):
        most = {"top_k": TOP}
        if task == "fill-mask" and options.top_k == 0:
            raise UserError(f"top_k is 0, which asks for the whole vocabulary: give {TOP} at most")
    for name, limit in most.items():
        if getattr(options, name, 0) > limit:
            raise UserError(f"{name} is {getattr(options, name)}, and a request may ask for {limit}")
