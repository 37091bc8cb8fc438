"""What became of every sample that a run has read, by stream."""

from collections import Counter
from collections.abc import Mapping, Sequence

from xfm.data.schema import Batch, TensorFields
from xfm.training import distributed

TRAINED, UNTRAINED = "trained", "untrained"


class SampleCounts:
    """Counts of a run: what was read is what became of it, to the last sample.

    `read` records are `trained` on, `skipped` (bad records), `passed_over` (pictures without regions, for a
    stream that needs some) or `untrained` (of steps that were skipped, for a loss or a gradient that is no
    number). What loaders have read ahead does not count before its step has come; a run that goes on counts
    from its checkpoint on, so that a step that is done again counts once.
    """

    def __init__(self) -> None:
        self._before: Counter[tuple[str, str]] = Counter()
        self._own: Counter[tuple[str, str]] = Counter()

    def resume(self, totals: Mapping[str, Mapping[str, int]]) -> None:
        """Go on from what `totals` gave, of all processes."""
        pairs = ((name, what, number) for name, counts in totals.items() for what, number in counts.items())
        self._before = Counter({(name, what): number for name, what, number in pairs})

    def add(self, batches: Sequence[TensorFields], trained: bool) -> None:
        """Count the batches of a step; those of fine-tunings have no streams.

        Args:
            batches: this process's.
            trained: whether the step changed the weights.
        """
        for batch in batches:
            if not isinstance(batch, Batch):
                continue
            for reads in batch.reads:
                for what in ("read", "skipped", "passed_over"):
                    self._own[reads.kind, what] += getattr(reads, what)
                self._own[reads.kind, TRAINED if trained else UNTRAINED] += _rows(batch, reads.kind)

    def totals(self) -> dict[str, dict[str, int]]:
        """The counts by stream, of all processes; all of them must ask at the same place."""
        found: dict[str, dict[str, int]] = {}
        for counts in (self._before, *distributed.collect(self._own)):
            for (name, what), number in counts.items():
                kinds = ("read", TRAINED, "skipped", "passed_over", UNTRAINED)
                of_stream = found.setdefault(name, dict.fromkeys(kinds, 0))
                of_stream[what] = of_stream.get(what, 0) + number
        return dict(sorted(found.items()))


def _rows(batch: Batch, kind: str) -> int:
    if kind == "text":
        return 0 if batch.text is None else len(batch.text.tokens.ids)
    shown = {"image": batch.image, "pair": batch.pair, "region": batch.region}[kind]
    return 0 if shown is None else len(shown.pixels)
