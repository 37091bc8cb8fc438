"""States of other processes' rows: ITM's negatives come from the whole batch."""

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
    """Rows exchanged with other processes: own rows `sent` [n], counts by process, and `place` [N] of each
    row of the batch, own ones first, received ones behind."""

    sent: Tensor
    counts_sent: Sequence[int]
    counts_received: Sequence[int]
    place: Tensor

    def exchange(self, rows: Tensor, whole: GlobalBatch) -> Tensor:
        """[n, ...] own rows sent -> [m, ...] rows received, with gradient."""
        return whole.peers.exchange(rows, self.counts_sent, self.counts_received)


def _loan_of(wanted: Sequence[Sequence[int]], counts: Sequence[int], rank: int, device: torch.device) -> Loan:
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
    """Rows with texts padded to the longest of all processes, so that they can be exchanged."""
    length = max(whole.of_processes(f"{source}/tokens"))
    return rows if length == rows.texts.states.shape[1] else replace(rows, texts=longer(rows.texts, length))


def with_borrowed(
    rows: TextRows, negatives: Negatives, source: str, whole: GlobalBatch
) -> tuple[TextRows, TextRows, Negatives]:
    """Rows with the images and texts of their negatives, wherever these are: rows with a wider bank of
    images, the same with borrowed images and texts behind them, and the negatives among these."""
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
