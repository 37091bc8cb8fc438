"""The base of all pipelines: inputs read in windows, rows of similar length together, answers in order."""

from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, ClassVar

import torch

from xfm.config.task_spec import TaskSpec
from xfm.core.errors import UserError, naming, suggest
from xfm.data.schema import Tokens
from xfm.inference.engine import EncodedImages, Engine, InputBatch, cut
from xfm.inference.input_parsing import (
    ImageReader,
    InputError,
    Item,
    by_field,
    example,
    field_names,
    read_field,
)
from xfm.inference.inputs import ABSENT, checked_option, sort_out

SkipCallback = Callable[[int, str], bool]
"""Told the number of an input that cannot be used, and why; whether it may be passed over."""


class Pipeline(ABC):
    """A model that answers inputs of one task (`spec`), run by an `engine`. One input gives one answer. A
    list, tuple, array, Series, table or folder gives a list; an iterator gives an iterator that reads a few
    batches ahead. An input is a mapping of fields, or the value of the only field; fields can also be named
    arguments of the call. Rows are sorted by length within a window and every distinct picture is encoded
    once; answers are those of one row at a time, up to rounding."""

    may_lack: ClassVar[tuple[str, ...]] = ()
    """Parts of `TaskSpec.uses` without which it answers all the same, otherwise."""

    def __init__(self, engine: Engine, spec: TaskSpec) -> None:
        self.engine, self.spec = engine, spec

    # ------------------------------------------------------------ what a task says
    @classmethod
    def suits(cls, spec: TaskSpec, own: TaskSpec) -> bool:
        """Whether a model fine-tuned for the task `own` still answers `spec`."""
        return set(spec.uses) <= set(own.uses)

    def begin(self, options: Any) -> Any:
        """Shared state of a call, such as vectors of class names; by default its options. May raise
        UserError."""
        return options

    @abstractmethod
    def answer(self, batch: InputBatch, ready: Any) -> list[Any]:
        """The answers of a batch, in its order; `ready` is from `begin`."""

    def as_read(self, text: str, pictures: int) -> str:
        """A text as the model was trained to read it, beside so many pictures."""
        own = self.engine.pretrained.task
        words = 0 if own is None else own.task.max_words
        return self.engine.tokenizer.as_read(self.spec.text, text, self.engine.longest, words)

    def check(self, item: Item) -> None:  # noqa: B027
        """Refuse an input that cannot be answered; raises UserError. Never called by several threads."""

    # ------------------------------------------------------------ calls
    def __call__(self, inputs: Any = ABSENT, /, **given: Any) -> Any:
        """Answer one input, several, or an iterator of them. `given` holds options of the task; without
        `inputs`, also the fields of one input, or a list for each. UserError: an unusable input (with its
        number), or an unknown or wrong option."""
        options, fields = self._options(given)
        if inputs is ABSENT and fields:
            if not {*fields} <= {*field_names(self.spec.inputs)}:
                by_field(fields, self.spec.inputs, [*vars(options)])  # says which one is not known
            inputs = fields
        elif fields:
            self.options(given)  # refuses what is no option
        rows, single, endless = sort_out(inputs, self.spec.inputs)
        answers = (answer for _, answer in self.numbered(rows, options))
        if endless:
            return answers
        if not single:
            return self.collected([*answers])
        try:
            (answer,) = answers
        except InputError as error:
            raise UserError(error.reason) from error
        return answer

    def collected(self, answers: list[Any]) -> Any:
        """The answers of a list; a subclass may stack them."""
        return answers

    def _options(self, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        kind = self.spec.options
        known = vars(kind())
        chosen = {
            name: checked_option(name, value, known[name]) for name, value in given.items() if name in known
        }
        with naming(self.spec.name, ValueError):
            options = kind(**chosen)
        return options, {name: value for name, value in given.items() if name not in known}

    def options(self, given: Mapping[str, Any]) -> Any:
        """The options of the task by name; UserError if one is unknown or wrong."""
        options, others = self._options(given)
        if others:
            word, names = next(iter(others)), [*vars(options)]
            known = suggest(word, names) if names else f"{self.spec.name} has none"
            raise UserError(f"unknown option {word}; {known}")
        return options

    # ------------------------------------------------------------ rows
    def numbered(
        self, inputs: Iterable[Any], options: Any = None, bad: SkipCallback | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Answers with the numbers of their inputs, from 0, in order. `bad(number, reason)` may pass over an
        unusable input; otherwise InputError follows the answers before it."""
        ready = self.begin(self.spec.options() if options is None else options)
        encoded = EncodedImages(self.engine)
        for window in self.windows(inputs):
            items: dict[int, Item] = {}
            failure: InputError | None = None
            for number, read in window:
                try:
                    item = read()
                    self.check(item)
                    items[number] = item
                except UserError as error:
                    if bad is None or not bad(number, str(error)):
                        failure = InputError(number, str(error))
                        break
            yield from zip(items, self.answers(list(items.values()), encoded, ready), strict=True)
            if failure is not None:
                raise failure

    def read(self, given: object, reader: ImageReader) -> Item:
        """One input, read and checked; threads may share a reader. UserError: it cannot be used."""
        item = self._read(given, reader)
        self.check(item)
        return item

    def windows(self, inputs: Iterable[Any]) -> Iterator[list[tuple[int, Callable[[], Item]]]]:
        """What gives the inputs that were read, or raises UserError, with their numbers: `Engine.window` at a
        time. With reader threads, one window is read while another is answered."""
        rest, size, threads = enumerate(inputs), self.engine.window, self.engine.readers
        reader = ImageReader(self.engine.pretrained.preprocessing, self.engine.urls)
        if not threads:
            while window := list(islice(rest, size)):
                yield [(number, partial(self._read, given, reader)) for number, given in window]
            return
        waiting: deque[list[tuple[int, Callable[[], Item]]]] = deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")
        try:
            while True:
                window = list(islice(rest, size))
                if window:
                    submitted = ((n, pool.submit(self._read, given, reader)) for n, given in window)
                    waiting.append([(number, future.result) for number, future in submitted])
                if not waiting:
                    return
                if len(waiting) > 1 or not window:
                    yield waiting.popleft()
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, given: object, reader: ImageReader) -> Item:
        values = by_field(given, self.spec.inputs)
        if not values or (len(values) > 1 and not any(not field.optional for field in self.spec.inputs)):
            either = " or ".join(field.name for field in self.spec.inputs)
            raise UserError(f"{self.spec.name} takes either {either}: give {example(self.spec.inputs)}")
        found = {f.name: read_field(f, values[f.name], reader) for f in self.spec.inputs if f.name in values}
        pictures = [picture for value in found.values() if isinstance(value, list) for picture in value]
        texts = [value for value in found.values() if isinstance(value, str)]
        read = tuple(self.as_read(text, len(pictures)) for text in texts)
        return Item(read, tuple(pictures), texts[0] if texts else "")

    def answers(self, items: Sequence[Item], encoded: EncodedImages, ready: Any) -> list[Any]:
        """Answers of inputs from `read`, in order, with the pictures of earlier calls and the state of
        `begin`."""
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place, item in enumerate(items):
            groups[len(item.texts), len(item.pictures)].append(place)
        encoded.need([picture for item in items for picture in item.pictures])
        answers: dict[int, Any] = {}
        size = self.engine.batch_size
        for places in groups.values():
            tokens = self.tokenise([items[place].texts for place in places])
            order = list(range(len(places)))
            if tokens is not None:
                order = tokens.mask.sum(dim=1).argsort(stable=True).tolist()
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                chosen = [items[places[row]] for row in rows]
                part, image, index = tokens, None, None
                if tokens is not None:
                    part = cut(tokens, rows, self.engine.longest).to(self.engine.device)
                if keys := [picture.key for item in chosen for picture in item.pictures]:
                    image, index = encoded.stack(keys)
                    index = index.view(len(rows), -1)
                batch = InputBatch(part, image, index, chosen, [*dict.fromkeys(keys)])
                with torch.inference_mode(), self.engine.arithmetic():
                    found = self.answer(batch, ready)
                answers |= {places[row]: answer for row, answer in zip(rows, found, strict=True)}
        return [answers[place] for place in range(len(items))]

    def tokenise(self, texts: Sequence[tuple[str, ...]]) -> Tokens | None:
        """Tokens [R, T] of rows with as many texts each; None where they have none."""
        if not texts or not texts[0]:
            return None
        tokenizer, longest = self.engine.tokenizer, self.engine.longest
        first, *second = zip(*texts, strict=True)
        if second:
            return tokenizer.encode_pairs(first, second[0], longest)
        return tokenizer.encode_batch(first, longest)
