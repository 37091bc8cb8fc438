"""States of rows that other processes have: ITM's negatives come from the whole batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xfm.models.fusion import TextBank
from xfm.objectives.global_batch import GlobalBatch
from xfm.objectives.itm import Negatives
from xfm.objectives.text_rows import TextRows, longer, with_others


@dataclass(frozen=True)
class Loan:
    """Which rows this process sends to others, and which it gets.

    Attributes:
        sent: [n] int64, own rows in the order in which they are sent.
        counts_sent, counts_received: of every process, how many.
        place: [N] int64, where a row of the batch is found: an own row at its number, a borrowed one after
            the R own ones.
    """

    sent: Tensor
    counts_sent: Sequence[int]
    counts_received: Sequence[int]
    place: Tensor

    def exchange(self, rows: Tensor, whole: GlobalBatch) -> Tensor:
        """[n, ...] the own rows that are sent, in their order -> [m, ...] those of others, with gradient."""
        return whole.peers.exchange(rows, self.counts_sent, self.counts_received)


def _loan_of(wanted: Sequence[Sequence[int]], counts: Sequence[int], rank: int, device: torch.device) -> Loan:
    """Who sends what to whom, by the rows of the batch that every process needs; all come to the same."""
    starts = [sum(counts[:place]) for place in range(len(counts) + 1)]
    own = range(starts[rank], starts[rank + 1])

    def held(process: int) -> range:
        return range(starts[process], starts[process + 1])

    foreign = [sorted({row for row in rows if row not in held(one)}) for one, rows in enumerate(wanted)]
    lent = [[row - own.start for row in rows if row in own] for rows in foreign]
    received = [sum(row in held(one) for row in foreign[rank]) for one in range(len(counts))]
    place = torch.zeros(starts[-1], dtype=torch.int64)
    place[own.start : own.stop] = torch.arange(len(own))
    place[foreign[rank]] = torch.arange(len(own), len(own) + len(foreign[rank]))
    sent = torch.tensor([row for rows in lent for row in rows], dtype=torch.int64)
    return Loan(sent.to(device), [len(rows) for rows in lent], received, place.to(device))


def padded_alike(rows: TextRows, source: str, whole: GlobalBatch) -> TextRows:
    """The rows with texts as long as the longest of any process's, so that they can be exchanged."""
    length = max(whole.of_processes(f"{source}/tokens"))
    return rows if length == rows.texts.states.shape[1] else replace(rows, texts=longer(rows.texts, length))


def with_borrowed(
    rows: TextRows, negatives: Negatives, source: str, whole: GlobalBatch
) -> tuple[TextRows, TextRows, Negatives]:
    """Rows that know the pictures and texts of their negatives, wherever these are.

    Args:
        rows: this process's, their texts padded alike.
        negatives: among the rows of the batch.
        source: of the rows.
        whole: the step that they are a part of.

    Returns:
        The rows with a bank of pictures that holds borrowed ones too; the same rows with borrowed pictures
        and texts behind them, which are no rows of their own; and the negatives among these.
    """
    if whole.peers.world == 1:
        return rows, rows, negatives
    counts, device = whole.of_processes(f"{source}/rows"), rows.image.device
    drawn = whole.gather(source, torch.stack([negatives.image, negatives.text], dim=1)).t().tolist()
    shares = [slice(sum(counts[:one]), sum(counts[: one + 1])) for one in range(len(counts))]
    images, texts = (
        _loan_of([of_all[share] for share in shares], counts, whole.peers.rank, device) for of_all in drawn
    )
    moved = Negatives(images.place[negatives.image], texts.place[negatives.text], negatives.valid)
    seen, read = images.sent, texts.sent
    patches = rows.bank.patches.index_select(0, rows.image[seen])
    states = torch.cat([rows.slot0.index_select(0, seen)[:, None], patches], dim=1)  # [n, 1 + P, D]
    others = images.exchange(states, whole)
    visible = None if rows.visible is None else images.exchange(rows.visible.index_select(0, seen), whole)
    said = [texts.exchange(one.index_select(0, read), whole) for one in (rows.texts.states, rows.texts.mask)]
    wider = with_others(rows, others, visible, TextBank(*said))
    return replace(rows, bank=wider.bank), wider, moved
