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
from xfm.data.schema import Batch
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


NAMES = tuple(
    f"{stream}/{what}"
    for stream in STREAMS
    for what in ("rows", "pictures", "tokens", "tokens_masked", "patches_masked", "boxes")
)
"""What is counted of a part of a step."""


def single(batch: Batch) -> GlobalBatch:
    """Global batch of one microbatch of one process."""
    return GlobalBatch([[{name: n for name, n in _counts(batch).items() if isinstance(n, int)}]])


def global_batches_of(
    batches: Sequence[Batch], peers: ProcessGroup, negatives: NegativesConfig | None = None
) -> list[GlobalBatch]:
    """Global batch as seen from each of this process's microbatches; a UserError where a process has no
    rows of a stream that others have."""
    negatives = negatives or NegativesConfig()
    if len(batches) * peers.world == 1:
        return [replace(single(batches[0]), negatives=negatives)]
    own = torch.stack([_counted(batch) for batch in batches])
    table = torch.tensor(peers.table(own.flatten())).view(peers.world, *own.shape)  # [W, A, K]
    counts = [
        [dict(zip(NAMES, process, strict=True)) for process in batch]
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


def _counts(batch: Batch) -> dict[str, int | Tensor]:
    """What there is of `NAMES`; what is predicted are tensors, of which nobody waits."""
    found: dict[str, int | Tensor] = {}
    if (text := batch.text) is not None:
        found |= {"text/rows": len(text.tokens.ids)}
        found |= {"text/tokens_masked": text.masked.labels.ne(IGNORED).sum()}
    if (image := batch.image) is not None:
        found |= {"image/rows": len(image.pixels), "image/patches_masked": image.patch_mask.sum()}
    for name, part in (("pair", batch.pair), ("region", batch.region)):
        if part is not None:
            rows, tokens = part.tokens.ids.shape
            found |= {f"{name}/rows": rows, f"{name}/tokens": tokens, f"{name}/pictures": len(part.pixels)}
            found |= {f"{name}/tokens_masked": part.masked.labels.ne(IGNORED).sum()}
    if batch.pair is not None and batch.pair.patch_mask is not None:
        found |= {"pair/patches_masked": batch.pair.patch_mask.sum()}
    if batch.region is not None:
        found |= {"region/boxes": (~batch.region.is_image).sum()}
    return found


def _counted(batch: Batch) -> Tensor:
    """[K] int64 of `NAMES`, on the device of the batch."""
    found = _counts(batch)
    device = next((one.device for one in found.values() if isinstance(one, Tensor)), torch.device("cpu"))
    values = [found.get(name, 0) for name in NAMES]
    # A number is copied to a GPU only when what is under way there has ended; filling does not wait.
    return torch.stack([n if isinstance(n, Tensor) else torch.full((), n, device=device) for n in values])
