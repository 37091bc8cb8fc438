"""Between routes and models: pictures read in threads, items of many requests answered in batches."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from xfm.config.pipelines import UrlRules
from xfm.config.serving import ServeConfig
from xfm.core.errors import UserError
from xfm.data.fetch import fetch
from xfm.data.images import LIMIT_VARIABLE, ImageError, checked_header
from xfm.inference.base import Pipeline
from xfm.inference.heads import ZeroShotImageClassification
from xfm.inference.input_parsing import InputImage, Item
from xfm.search.searching import Searcher
from xfm.search.store import StoreError
from xfm.serving import inputs
from xfm.serving.batching import Batcher, BatchKey, Compute
from xfm.serving.served import Models, ServedModel

PICTURE_LENGTH = 64
"""What a picture counts when batches are filled with items of like length."""
_LOOK_UP_SECONDS = 10.0
_FETCHERS, _SHARE = 32, 2
"""Pictures that are fetched at once from a host, and for a request: most of the time, a thread waits."""
_LIGHT = 20_000  # characters of texts that are made ready at once; more of them take a thread
Read = Callable[[bytes], InputImage]
Kind = TypeVar("Kind")


class Dispatcher:
    """Answers inputs of requests."""

    def __init__(self, models: Models, config: ServeConfig, observe: Callable[..., None]) -> None:
        self.models, self.config = models, config
        hosts = frozenset(host.lower() for host in config.fetch_from)
        self.inputs, self._urls = inputs.RequestImages(hosts), UrlRules(hosts=tuple(sorted(hosts)))
        self.batcher = Batcher(config.max_batch_size, config.queue_size, observe)
        self._readers = ThreadPoolExecutor(config.workers, thread_name_prefix="reading")
        self._numbers = itertools.count()
        self._fetchers = {host: ThreadPoolExecutor(_FETCHERS, f"fetching from {host}") for host in hosts}
        self._stores = WeakKeyDictionary[Searcher, ThreadPoolExecutor]()

    async def close(self) -> None:
        """Answer what was taken, and end."""
        await self.batcher.close()
        for pool in (self._readers, *self._fetchers.values(), *self._stores.values()):
            pool.shutdown(wait=False, cancel_futures=True)

    def check_count(self, items: int) -> None:
        """Refuse more items than a request may have (UserError), or than there is room for (Full, Closed)."""
        if items > self.config.max_items:
            raise UserError(f"a request may have {self.config.max_items} inputs, and this one has {items}")
        self.batcher.check_room(items)

    async def ask(
        self,
        served: ServedModel,
        task: str,
        given: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any] | None = None,
        counted: bool = False,
    ) -> list[Any]:
        """A task's answers to inputs, in order; of an unusable input its UserError. `counted` where the limit
        was checked already. UserError: a wrong option, too many inputs, or another model's task."""
        if not counted:
            self.check_count(len(given))
        pipe = served.pipeline(task)
        chosen = pipe.options(options or {})
        inputs.check_options(task, chosen, self.config.characters)
        with self.batcher.expecting(len(given)):
            sent = [one for each in given for one in inputs.sent_in(each)]
            pictures = await self._pictures(served.reader.read, sent) if sent else {}
            size = sum(len(value) for each in given for value in each.values() if isinstance(value, str))
            read = await self.light(
                size, lambda: [self._attempt(served, task, one, pictures) for one in given]
            )
            ready = await self._ready(pipe, task, chosen)
        good = {place: item for place, item in enumerate(read) if isinstance(item, Item)}
        found: list[Any] = [one if isinstance(one, UserError) else None for one in read]
        if good:
            # What can be computed together: the same task of the same model with the same options.
            lane = BatchKey(task, id(served), json.dumps(asdict(chosen), sort_keys=True, default=str))
            lengths = [
                sum(map(len, item.texts)) + PICTURE_LENGTH * len(item.pictures) for item in good.values()
            ]
            answers = await self.batcher.answers(
                lane,
                lambda items: pipe.answers(items, served.encoded, ready or pipe.begin(chosen)),
                list(good.values()),
                lengths,
            )
            for place, answer in zip(good, answers, strict=True):
                found[place] = answer
        return found

    def _attempt(
        self,
        served: ServedModel,
        task: str,
        given: Mapping[str, Any],
        pictures: Mapping[inputs.SentImage, Any],
    ) -> Item | UserError:
        try:
            inputs.check_texts(given, self.config.characters)
            for one in inputs.sent_in(given):
                if isinstance(found := pictures[one], UserError):
                    raise found
            return served.pipeline(task).read(inputs.with_images(given, pictures), served.reader)
        except UserError as error:
            return error

    async def _ready(self, pipe: Pipeline, task: str, options: Any) -> Any:
        """Vectors of more classes than a batch, in turn with batches of others."""
        size = self.config.max_batch_size
        if not isinstance(pipe, ZeroShotImageClassification):
            return None
        said = await self.in_thread(lambda: pipe.sentences(options))
        if len(said) <= size:
            return None
        parts = [said[start : start + size] for start in range(0, len(said), size)]
        vectors = [
            await self.compute(f"{task}: labels", partial(pipe.encode, part), time.perf_counter())
            for part in parts
        ]
        return pipe.named(options, vectors)

    async def compute(self, name: str, work: Callable[[], Any], since: float | None = None) -> Any:
        """Work with a model that is no item of a batch, in turn with the batches."""
        alone = BatchKey(name, how=next(self._numbers))
        return await self.together(alone, lambda jobs: [job() for job in jobs], work, 0, since)

    async def together(
        self, lane: BatchKey, compute: Compute, item: Any, length: int, since: float | None = None
    ) -> Any:
        """The answer to one item; see `Batcher.answers`."""
        (answer,) = await self.batcher.answers(lane, compute, [item], [length], since)
        return answer

    async def look_up(
        self, searcher: Searcher, work: Callable[[], Kind], seconds: float = _LOOK_UP_SECONDS
    ) -> Kind:
        """Work that waits for a collection, one at a time; StoreError after `seconds`."""
        thread = self._stores.setdefault(searcher, ThreadPoolExecutor(1, thread_name_prefix="looking up"))
        try:
            done = asyncio.get_running_loop().run_in_executor(thread, work)
            return await asyncio.wait_for(done, seconds)
        except TimeoutError:
            raise StoreError(f"the collection gives no answer in {seconds:g} seconds") from None

    async def in_thread(self, work: Callable[[], Kind]) -> Kind:
        """Work in a reading thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def light(self, size: int, work: Callable[[], Kind]) -> Kind:
        """Work on so many characters of text: at once if few, else in a thread."""
        return work() if size <= _LIGHT else await self.in_thread(work)

    async def picture(self, read: Read, sent: inputs.SentImage) -> InputImage:
        """One picture; UserError if unusable."""
        (found,) = (await self._pictures(read, [sent])).values()
        if isinstance(found, UserError):
            raise found
        return found

    async def _pictures(
        self, read: Read, sent: Sequence[inputs.SentImage]
    ) -> dict[inputs.SentImage, InputImage | UserError]:
        loop, most = asyncio.get_running_loop(), self.config.pixels
        left = [most]  # of the pixels of the request's pictures, counted by one thread at a time
        distinct, share = list(dict.fromkeys(sent)), asyncio.Semaphore(_SHARE)
        inside = [one for one in distinct if inputs.is_data(one.value)]
        # Before one of them is decoded; what is fetched is counted as it comes.
        opened = await self.in_thread(lambda: {one: _opened(one, left, most) for one in inside})

        async def one(which: inputs.SentImage) -> InputImage | UserError:
            try:
                if (data := opened.get(which)) is None:
                    async with share:
                        threads = self._fetchers[inputs.host_of(which.value)]
                        data = await loop.run_in_executor(threads, fetch, which.value, self._urls)
                    _count(data, left, most)
                return await self.in_thread(partial(_picture, read, data))
            except UserError as error:
                return error

        return dict(zip(distinct, await asyncio.gather(*map(one, distinct)), strict=True))


def _opened(sent: inputs.SentImage, left: list[int], most: int) -> bytes | UserError:
    try:
        data = inputs.decoded(sent)
    except UserError as error:
        return error
    _count(data, left, most)
    return data


def _count(data: bytes, left: list[int], most: int) -> None:  # of a picture, before it is decoded
    with suppress(ImageError):  # the reader says what is wrong with it
        header = checked_header(data)
        left[0] -= header.width * header.height
        if left[0] < 0:
            raise UserError(
                f"the pictures of a request may have {most} pixels together: shrink or split them"
            )


def _picture(read: Read, data: bytes | UserError) -> InputImage:
    if isinstance(data, UserError):
        raise data
    try:
        return read(data)
    except UserError as error:  # limits of the server are nothing that its clients could lift
        raise UserError(str(error).partition(f", or set {LIMIT_VARIABLE}")[0]) from None
