"""A step's whole batch, which processes share and each may take in several parts.

Every loss is a mean over what it counts in the whole (masked words, rows, boxes), not a mean of means: a step
is the same on any number of processes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from xfm.config.data import STREAMS
from xfm.config.training import NegativesConfig
from xfm.core.errors import UserError
from xfm.data.schema import Batch, MaskedTokens
from xfm.objectives.itm import Block, Negatives, blocks_of
from xfm.objectives.negative_queue import NegativeQueue
from xfm.objectives.tokens import IGNORED

Gather = Callable[[Tensor], Tensor]
"""Concatenates a tensor over all processes, with gradient; the identity on one process."""


class ProcessGroup:
    """A process that is alone: all rows are its own. see `DistributedGroup` of the trainings.

    Attributes:
        rank: index of this process.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1

    def table(self, counts: Tensor) -> list[list[int]]:
        """[K] int64 of every process, as numbers."""
        return [counts.tolist()]

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Rows of all processes in the order of the ranks, with gradient.

        Args:
            rows: [B, ...].
            counts: of each process, how many it has.

        Returns:
            [sum of B, ...].
        """
        return rows

    def total(self, value: Tensor) -> Tensor:
        """The sum over the processes, without gradient."""
        return value

    def exchange(self, rows: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """Give every process some rows, with gradient.

        Args:
            rows: [B, ...], those for the first process before those for the second one, and so on.
            sent: how many go to each process.
            received: how many come from each.

        Returns:
            [sum of received, ...] in the order of the ranks.
        """
        return rows


Counts = Mapping[str, int]
"""By name how much there is of something in a part of a step."""


@dataclass(frozen=True)
class ContrastOutput:
    """What the contrast gives for R rows of a source.

    Attributes:
        loss: with gradient; its mean over the parts of a step is that of the whole.
        right: share of texts whose picture is ranked first, likewise, without gradient.
        negatives: of each row, among those of the batch; None where nobody asks for them.
        pairs: how many pairs ITM judges in the whole.
    """

    loss: Tensor
    right: Tensor
    negatives: Negatives | None = None
    pairs: Tensor | None = None


@dataclass(frozen=True)
class CachedContrast:
    """The contrast of R rows with the whole of a step that is taken in several batches, computed before.

    Attributes:
        found: what it gave, without gradient.
        image: [R, E], the loss's gradient by the rows' picture vectors.
        text: [R, E] likewise by their text vectors.
        temperature: likewise by the temperature.
    """

    found: ContrastOutput
    image: Tensor
    text: Tensor
    temperature: Tensor


@dataclass(frozen=True)
class GlobalBatch:
    """The whole of a step, as a part of it (a batch of one process) needs to know it.

    Attributes:
        counts: of every batch of the step, and in it of every process.
        place: which of the batches this part is.
        peers: the processes.
        kept: the contrast by source, where the step has several batches.
        negatives: the draw of ITM's negatives.
        memory: pairs of earlier steps, for ITM's negatives; None where those of the batch are all.
    """

    counts: Sequence[Sequence[Counts]]
    place: int = 0
    peers: ProcessGroup = field(default_factory=ProcessGroup)
    kept: Mapping[str, CachedContrast] = field(default_factory=dict)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    memory: NegativeQueue | None = None

    @property
    def parts(self) -> int:
        """How many parts the step has."""
        return len(self.counts) * self.peers.world

    @property
    def is_single(self) -> bool:
        """Whether this part is all of it."""
        return self.parts == 1

    def loss_scale(self, name: str) -> float:
        """What a mean over this part counts for, so that the mean of all parts is that of the whole."""
        if self.is_single:
            return 1.0
        total = sum(count[name] for batch in self.counts for count in batch)
        return self.counts[self.place][self.peers.rank][name] * self.parts / total if total else 1.0

    def of_processes(self, name: str) -> list[int]:
        """The count of every process in this batch."""
        return [count[name] for count in self.counts[self.place]]

    def own_rows(self, source: str) -> range:
        """This process's rows among those of the batch."""
        counts = self.of_processes(f"{source}/rows")
        before = sum(counts[: self.peers.rank])
        return range(before, before + counts[self.peers.rank])

    def gather(self, source: str, rows: Tensor) -> Tensor:
        """[R, ...] of each process -> [N, ...] of the batch, with gradient."""
        return self.peers.gather(rows, self.of_processes(f"{source}/rows"))

    def blocks(self, source: str, pictures: Tensor) -> list[Block]:
        """Among which rows of the batch negatives are drawn for one another.

        Args:
            source: of the rows.
            pictures: [R] int64, the picture of each of this process's rows.
        """
        own, size = self.own_rows(source), self.negatives.pool_size
        if not size:
            return [Block(range(sum(self.of_processes(f"{source}/rows"))), own, range(len(own)))]
        before = sum(self.of_processes(f"{source}/pictures")[: self.peers.rank])
        labels = self.gather(source, (pictures + before) // size)
        return blocks_of(labels.tolist(), own)


def single(batch: Batch) -> GlobalBatch:
    """The whole of a step that is one batch of one process."""
    return GlobalBatch([[_sizes(batch)]])


def global_batches_of(
    batches: Sequence[Batch], peers: ProcessGroup, negatives: NegativesConfig | None = None
) -> list[GlobalBatch]:
    """The whole of a step, as each of this process's batches needs to know it.

    Raises:
        UserError: a batch has nothing of a kind for a process, and something for others.
    """
    negatives = negatives or NegativesConfig()
    if len(batches) * peers.world == 1:
        return [replace(single(batches[0]), negatives=negatives)]
    names = [*_sizes(batches[0]), *_masked(batches[0])]
    own = torch.stack([_as_tensor({**_sizes(batch), **_masked(batch)}, batch) for batch in batches])
    table = torch.tensor(peers.table(own.flatten())).view(peers.world, *own.shape)  # [W, A, K]
    counts = [
        [dict(zip(names, process, strict=True)) for process in batch]
        for batch in table.transpose(0, 1).tolist()
    ]
    for batch in counts:
        _require_shares(batch)
    return [GlobalBatch(counts, place, peers, negatives=negatives) for place in range(len(batches))]


def _require_shares(counts: Sequence[Counts]) -> None:
    for stream in STREAMS:
        found = [count[f"{stream}/rows"] for count in counts]
        if any(found) and not all(found):
            raise UserError(
                f"process {found.index(0)} has no share of a step's data.{stream}: set "
                f"data.{stream}.batch_size so that each of {len(found)} processes has a sample at least"
            )


def _sizes(batch: Batch) -> dict[str, int]:
    """What is known without looking at numbers; 0 where there is no such stream."""
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
        "text/tokens_masked": 0 if text is None else _labels(text.masked),
        "image/patches_masked": 0 if image is None else image.patch_mask.sum(),
        "pair/patches_masked": 0 if pair_mask is None else pair_mask.sum(),
        "pair/tokens_masked": 0 if pair is None else _labels(pair.masked),
        "region/tokens_masked": 0 if region is None else _labels(region.masked),
        "region/boxes": 0 if region is None else (~region.is_image).sum(),
    }


def _labels(masked: MaskedTokens) -> Tensor:
    return masked.labels.ne(IGNORED).sum()


def _as_tensor(counts: Mapping[str, int | Tensor], batch: Batch) -> Tensor:
    """[K] int64 on the device of the batch, without waiting for it."""
    parts = (batch.text, batch.image, batch.pair, batch.region)
    device = next((_device(part) for part in parts if part is not None), torch.device("cpu"))
    # A number is copied to a GPU only when what is under way there has ended; filling does not wait.
    return torch.stack([_filled(value, device) for value in counts.values()])


def _filled(value: int | Tensor, device: torch.device) -> Tensor:
    return value if isinstance(value, Tensor) else torch.full((), value, device=device)


def _device(part: object) -> torch.device:
    tokens = getattr(part, "tokens", None)
    tensor: Tensor = part.pixels if tokens is None else tokens.ids  # pyright: ignore[reportAttributeAccessIssue]
    return tensor.device
