"""Model, world, settings and time budget that every part of an evaluation works with."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from xfm.config.evaluation import AFTERWARDS, WORK, EvaluationConfig, Part
from xfm.core.errors import UserError
from xfm.data.skipped import SkippedRecords
from xfm.finetuning.probing import drawn
from xfm.metrics.recalls import with_equal_captions
from xfm.models.features import EncodedItems, Encoder, encode_images, encode_texts
from xfm.models.folder import Pretrained
from xfm.models.xfm import XFM
from xfm.reports.scores import HELD_OUT
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import CaptionedImage, images_of, read_captioned
from xfm.tasks.sampling import seeded

LEAST = 0.2
"""Share of the time left that fine-tunings have, however slow the rest is."""


class TimeBudget:
    """Time of each fine-tuning of the `part` that runs; `minutes` 0 means that steps decide, `clock` gives
    seconds."""

    def __init__(
        self,
        minutes: float = 0.0,
        parts: Sequence[Part] = (),
        baselines: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock, self._limited = clock, minutes > 0
        self._ends, self._baselines = clock() + 60 * minutes, baselines
        self._to_come = list(parts)
        self._work = {part: one if baselines else one.without_baselines() for part, one in WORK.items()}
        self._tunings: tuple[float, ...] = ()
        self._tuned = self._rest_took = self._rest_planned = 0.0

    def was_done(self, part: Part, seconds: float) -> None:
        """A part was finished before an interruption, in so many seconds."""
        self._to_come = [one for one in self._to_come if one is not part]
        self._ends -= seconds

    @contextmanager
    def part(self, part: Part) -> Iterator[None]:
        """While a part runs."""
        self._to_come = [part, *(one for one in self._to_come if one is not part)]
        self._tunings, self._tuned, began = self._work[part].tunings, 0.0, self._clock()
        yield
        self._rest_took += self._clock() - began - self._tuned
        self._rest_planned += self._work[part].rest
        self._to_come = self._to_come[1:]

    def one_more(self, part: Part) -> None:
        """The running part trains an intermediate task before its own, and before its last, from scratch."""
        extra, own = self._work[part].tunings[0], self._tunings
        self._tunings = (extra, *own[:-1], extra, own[-1]) if self._baselines else (extra, *own)

    @property
    def left(self) -> float:
        """Seconds that are left; without a clock they mean nothing."""
        return self._ends - self._clock()

    def minutes(self) -> float:
        """For the next fine-tuning of the running part; 0 where steps decide."""
        if not self._limited:
            return 0.0
        own, *others = (self._work[part] for part in self._to_come)
        here = self._tunings or own.tunings[-1:]  # to come, of which the next is one
        rest = AFTERWARDS + own.rest * len(here) / len(own.tunings) + sum(one.rest for one in others)
        weights = sum(here) + sum(sum(one.tunings) for one in others)
        left = max(1.0, self.left)
        slowness = self._rest_took / self._rest_planned if self._rest_planned else 1.0
        free = max(LEAST * left, left - slowness * rest)
        return free * here[0] / weights / 60

    def tuned(self, seconds: float) -> None:
        """A fine-tuning has taken so long."""
        self._tunings = self._tunings[1:]
        self._tuned += seconds


KEPT = 1 << 28
"""Bytes of states that are kept at most for a part to come; what does not fit is encoded again."""


@dataclass(frozen=True)
class EncodedCaptions:
    """R captions, their I distinct pictures, both encoded, and `owner` [R] int64, the picture of each."""

    rows: Sequence[CaptionedImage]
    images: EncodedItems
    texts: EncodedItems
    owner: NDArray[np.int64]

    @property
    def captions(self) -> list[str]:
        """The captions."""
        return [row.caption for row in self.rows]

    def fits(self) -> csr_array:
        """[I, R] bool: the caption is the picture's own, or equal to one of its own."""
        return with_equal_captions(self.owner, self.captions, len(self.images))


T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """A model in evaluation mode on `device`, a world, and resolved settings. All parts share `pictures`, so
    that each is decoded once. Fine-tuned models are `kept` in a folder (None: are not), `origin` is the path
    of what they began with. `encoded` has retrieval splits of earlier parts up to `KEPT`, `learned` tensors
    after a part's fine-tuning for those that begin with it (True: from scratch)."""

    pretrained: Pretrained
    world: Path
    config: EvaluationConfig
    device: torch.device
    pictures: TaskImages
    progress: bool = False
    left_out: SkippedRecords = field(default_factory=SkippedRecords)
    kept: Path | None = None
    time_budget: TimeBudget = field(default_factory=TimeBudget)
    origin: str = ""
    encoded: dict[tuple[tuple[Path, str], ...], EncodedCaptions] = field(default_factory=dict)
    learned: dict[tuple[Part, bool], Mapping[str, Tensor]] = field(default_factory=dict)

    @property
    def encoder(self) -> Encoder:
        """The model for the zero-shot parts."""
        return self.encoder_of(self.pretrained.model)

    @property
    def scratch(self) -> Pretrained:
        """The same configuration, initialised by the seed."""
        model = self.pretrained.model
        with seeded(self.config.seed):
            twin = XFM(model.config)
        return replace(self.pretrained, model=twin.to(next(model.parameters()).device).eval())

    def encoder_of(self, model: XFM) -> Encoder:
        """Another model of the same configuration."""
        config = self.config
        return Encoder(
            model, self.pretrained.tokenizer, config.precision, self.device, config.batch_size, self.progress
        )

    def rows(self, read: Callable[[Path], list[T]], task: str, split: str, limit: int) -> list[T]:
        """At most `limit` rows of a task file (0: all), drawn by the seed, that have readable pictures.
        UserError: the file is missing, empty or wrong, or too many pictures cannot be read."""
        path = self.world / "tasks" / task / f"{split}.jsonl"
        if not path.exists():
            raise UserError(f"{path} is missing: build the world again with `xfm prepare`")
        before = len(self.left_out.rows)
        every = [*enumerate(read(path), start=1)]
        if not every and len(self.left_out.rows) == before:
            raise UserError(f"{path} holds no rows: build the world again with `xfm prepare`")
        rows, _ = drawn(every, self.config.seed, limit or len(every))
        named = dict.fromkeys(picture for _, row in rows for picture in images_of(row))
        bad = self.pictures.unreadable(list(named), self.progress)
        kept = [row for _, row in rows if bad.keys().isdisjoint(images_of(row))]
        for number, row in rows if bad else ():
            for picture in [one for one in images_of(row) if one in bad][:1]:
                self.left_out.note(f"{path}, row {number}", bad[picture])
        self.left_out.check()
        lost = len(self.left_out.rows) - before
        self.left_out.count(str(path), f"{task}/{split}", len(kept) + lost, lost)
        return kept

    def splits(self, tests: tuple[str, ...]) -> tuple[str, ...]:
        """`tests`, or the validation split if that was asked for."""
        return ("validation",) if self.config.validation else tests

    def encode(self, paths: Sequence[Path]) -> tuple[EncodedItems, Tensor]:
        """Each distinct picture encoded once, and [N] int64 places of the paths among them."""
        places = {path: place for place, path in enumerate(dict.fromkeys(paths))}
        distinct = list(places)
        batches = self.pictures.batches(distinct, self.config.batch_size)
        features = encode_images(self.encoder, batches, len(distinct))
        return features, torch.tensor([places[path] for path in paths])

    def captions(self, split: str) -> EncodedCaptions:
        """A retrieval split with everything encoded, once for all parts. The rows do not depend on the part,
        so that a part scores the same alone and after others."""
        sizes = self.config.retrieval
        limit = sizes.held_out_rows if split in HELD_OUT else sizes.rows
        rows = self.rows(read_captioned, "retrieval", split, limit)
        key = tuple((row.image, row.caption) for row in rows)
        if (found := self.encoded.get(key)) is None:
            images, owner = self.encode([row.image for row in rows])
            texts = encode_texts(self.encoder, [row.caption for row in rows])
            found = EncodedCaptions(rows, images, texts, owner.numpy())
            items = [one for split in (*self.encoded.values(), found) for one in (split.images, split.texts)]
            if sum(one.states.bytes_in_memory for one in items) <= KEPT:
                self.encoded[key] = found
        return found

    def relative(self, path: Path) -> str:
        """A picture's path relative to the world, for examples."""
        world = self.world.absolute()
        return path.relative_to(world).as_posix() if path.is_relative_to(world) else str(path)
