"""Between routes and models: inputs read in threads, answered in batches with those of other requests."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from xfm.config.serving import ServeConfig
from xfm.errors import UserError
from xfm.inference.items import Item
from xfm.serving.batching import Batcher
from xfm.serving.inputs import Inputs
from xfm.serving.models import Models, Served

PICTURE_LENGTH = 64
"""What a picture counts when batches are filled with items of like length."""


class Desk:
    """Takes inputs of requests and gives their answers.

    Args:
        models: that answer.
        config: the limits.
        observe: told of every batch.
    """

    def __init__(self, models: Models, config: ServeConfig, observe: Callable[..., None]) -> None:
        self.models, self.config = models, config
        self.inputs = Inputs(frozenset(host.lower() for host in config.fetch_from))
        self.batcher = Batcher(config.batch, config.room, observe)
        self._readers = ThreadPoolExecutor(config.workers, thread_name_prefix="reading")

    async def close(self) -> None:
        """Answer what was taken, and end."""
        await self.batcher.close()
        self._readers.shutdown(cancel_futures=True)

    async def ask(
        self,
        served: Served,
        task: str,
        given: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Answers of a task to inputs, in their order; of one that cannot be used, its UserError.

        Args:
            served: the model.
            task: its name.
            given: inputs of the pipeline.
            options: of the task.

        Raises:
            UserError: an option is wrong, there are too many inputs, or the model does not answer the task.
            Full, Closed: see `Batcher.answers`.
        """
        if len(given) > self.config.items:
            raise UserError(f"a request may have {self.config.items} inputs, and this one has {len(given)}")
        self.batcher.check_room(len(given))
        loop = asyncio.get_running_loop()
        chosen, key = await self.in_thread(lambda: self._options(served, task, options or {}))
        read = await asyncio.gather(
            *(loop.run_in_executor(self._readers, _attempt, served, task, one) for one in given)
        )
        good = {place: item for place, item in enumerate(read) if isinstance(item, Item)}
        found: list[Any] = [one if isinstance(one, UserError) else None for one in read]
        if good:
            lane = (id(served), task, key)
            compute = served.compute(task, chosen)
            lengths = [_length(item) for item in good.values()]
            answers = await self.batcher.answers(lane, compute, list(good.values()), lengths)
            for place, answer in zip(good, answers, strict=True):
                found[place] = answer
        return found

    async def compute(self, lane: str, work: Callable[[], Any]) -> Any:
        """Work that needs a model and is no item of a batch, in turn with the batches."""
        (answer,) = await self.batcher.answers(
            ("search", lane), lambda jobs: [job() for job in jobs], [work], [0]
        )
        return answer

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        """Work of a thread that reads."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    def _options(self, served: Served, task: str, given: Mapping[str, Any]) -> tuple[Any, str]:
        """The options of a task, and a text that is the same for the same ones."""
        chosen = served.pipeline(task).options(given)
        return chosen, json.dumps(asdict(chosen), sort_keys=True, default=str)


def _attempt(served: Served, task: str, given: Mapping[str, Any]) -> Item | UserError:
    try:
        return served.read(task, given)
    except UserError as error:
        return error


def _length(item: Item) -> int:
    return sum(map(len, item.texts)) + PICTURE_LENGTH * len(item.pictures)
