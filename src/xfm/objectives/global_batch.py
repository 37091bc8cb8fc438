"""The global batch of a step, shared by processes and microbatches.

Every loss is a mean over its counts in the global batch (masked words, rows, boxes), not a mean of means: a
step is the same on any number of processes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from xfm.config.data import STREAMS
from xfm.config.training import NegativesConfig
from xfm.core.errors import UserError
from xfm.data.masking import IGNORED
from xfm.data.schema import Batch, TextBatch
from xfm.objectives.negatives import Block, NegativeQueue, Negatives, blocks_of

Gather = Callable[[Tensor], Tensor]
"""Concatenates a tensor over all processes, with gradient; the identity on one process."""


class ProcessGroup:
    """A single process: all rows are its own; `DistributedGroup` of the trainer overrides it."""

    rank: int = 0
    world: int = 1

    def table(self, counts: Tensor) -> list[list[int]]:
        """[K] int64 of every process."""
        return [counts.tolist()]

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Rows [B, ...] of all processes by rank, with gradient; `counts` of each."""
        return rows

    def total(self, value: Tensor) -> Tensor:
        """Sum over the processes, without gradient."""
        return value

    def exchange(self, rows: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """Rows sent to each process in turn -> rows received, by rank, with gradient."""
        return rows


Counts = Mapping[str, int]
"""By name how much there is of something in a part of a step."""


@dataclass(frozen=True)
class ContrastOutput:
    """Contrast of R rows: loss with gradient and share ranked first, whose means over microbatches are the
    global ones; negatives of each row; pairs judged by ITM globally. If it was computed before (GradCache),
    the loss is without gradient, and `gradients` are its own by image and text vectors [R, E] and
    temperature."""

    loss: Tensor
    right: Tensor
    negatives: Negatives | None = None
    pairs: Tensor | None = None
    gradients: tuple[Tensor, Tensor, Tensor] | None = None


@dataclass(frozen=True)
class GlobalBatch:
    """The global batch as seen from a microbatch: counts of all microbatches and processes, its `place`,
    the process group, cached contrasts by source, negatives and their queue."""

    counts: Sequence[Sequence[Counts]]
    place: int = 0
    peers: ProcessGroup = field(default_factory=ProcessGroup)
    cached: Mapping[str, ContrastOutput] = field(default_factory=dict)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    queue: NegativeQueue | None = None

    @property
    def parts(self) -> int:
        """Number of microbatches of all processes."""
        return len(self.counts) * self.peers.world

    def loss_scale(self, name: str) -> float:
        """Factor of this microbatch's mean, so that the mean over all is the global one."""
        if self.parts == 1:
            return 1.0
        total = sum(count[name] for batch in self.counts for count in batch)
        return self.counts[self.place][self.peers.rank][name] * self.parts / total if total else 1.0

    def of_processes(self, name: str) -> list[int]:
        """Count of every process in this microbatch."""
        return [count[name] for count in self.counts[self.place]]

    def own_rows(self, source: str) -> range:
        """This process's rows among the microbatch's."""
        counts = self.of_processes(f"{source}/rows")
        before = sum(counts[: self.peers.rank])
        return range(before, before + counts[self.peers.rank])

    def gather(self, source: str, rows: Tensor) -> Tensor:
        """[R, ...] of each process -> [N, ...] of the microbatch, with gradient."""
        return self.peers.gather(rows, self.of_processes(f"{source}/rows"))

    def blocks(self, source: str, pictures: Tensor) -> list[Block]:
        """Pools of rows in which negatives are drawn, given the image [R] int64 of each own row."""
        own, size = self.own_rows(source), self.negatives.pool_size
        if not size:
            return [(range(sum(self.of_processes(f"{source}/rows"))), own, range(len(own)))]
        before = sum(self.of_processes(f"{source}/pictures")[: self.peers.rank])
        labels = self.gather(source, (pictures + before) // size)
        return blocks_of(labels.tolist(), own)


def single(batch: Batch) -> GlobalBatch:
    """Global batch of one microbatch of one process."""
    return GlobalBatch([[_sizes(batch)]])


def global_batches_of(
    batches: Sequence[Batch], peers: ProcessGroup, negatives: NegativesConfig | None = None
) -> list[GlobalBatch]:
    """Global batch as seen from each of this process's microbatches; a UserError where a process has no
    rows of a stream that others have."""
    negatives = negatives or NegativesConfig()
    if len(batches) * peers.world == 1:
        return [replace(single(batches[0]), negatives=negatives)]
    names = [*_sizes(batches[0]), *_masked(batches[0])]
    own = torch.stack([_counted(batch) for batch in batches])
    table = torch.tensor(peers.table(own.flatten())).view(peers.world, *own.shape)  # [W, A, K]
    counts = [
        [dict(zip(names, process, strict=True)) for process in batch]
        for batch in table.transpose(0, 1).tolist()
    ]
    for batch in counts:
        for stream in STREAMS:
            rows = [count[f"{stream}/rows"] for count in batch]
            if any(rows) and not all(rows):
                raise UserError(
                    f"process {rows.index(0)} has no share of a step's data.{stream}: set "
                    f"data.{stream}.batch_size so that each of {len(rows)} processes has a sample at least"
                )
    return [GlobalBatch(counts, place, peers, negatives=negatives) for place in range(len(batches))]


def _sizes(batch: Batch) -> dict[str, int]:
    text, image, pair, region = batch.text, batch.image, batch.pair, batch.region
    return {
        "text/rows": 0 if text is None else len(text.tokens.ids),
        "image/rows": 0 if image is None else len(image.pixels),
        "pair/rows": 0 if pair is None else len(pair.pixels),
        "pair/pictures": 0 if pair is None else len(pair.pixels),
        "pair/tokens": 0 if pair is None else pair.tokens.ids.shape[1],
        "region/rows": 0 if region is None else len(region.image_index),
        "region/pictures": 0 if region is None else len(region.pixels),
        "region/tokens": 0 if region is None else region.tokens.ids.shape[1],
    }


def _masked(batch: Batch) -> dict[str, int | Tensor]:
    text, image, pair, region = batch.text, batch.image, batch.pair, batch.region
    pair_mask = None if pair is None else pair.patch_mask
    return {
        "text/tokens_masked": 0 if text is None else text.masked.labels.ne(IGNORED).sum(),
        "image/patches_masked": 0 if image is None else image.patch_mask.sum(),
        "pair/patches_masked": 0 if pair_mask is None else pair_mask.sum(),
        "pair/tokens_masked": 0 if pair is None else pair.masked.labels.ne(IGNORED).sum(),
        "region/tokens_masked": 0 if region is None else region.masked.labels.ne(IGNORED).sum(),
        "region/boxes": 0 if region is None else (~region.is_image).sum(),
    }


def _counted(batch: Batch) -> Tensor:
    """[K] int64 of sizes and masks, on the device of the batch."""
    parts = (batch.text, batch.image, batch.pair, batch.region)
    part = next((one for one in parts if one is not None), None)
    shown = part.tokens.ids if isinstance(part, TextBatch) else None if part is None else part.pixels
    device = torch.device("cpu") if shown is None else shown.device
    # A number is copied to a GPU only when what is under way there has ended; filling does not wait.
    return torch.stack(
        [
            value if isinstance(value, Tensor) else torch.full((), value, device=device)
            for value in (_sizes(batch) | _masked(batch)).values()
        ]
    )
