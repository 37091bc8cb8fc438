"""What `xfm bench` is told. Nothing here imports torch."""

from dataclasses import dataclass, field

from xfm.config.ranges import check_range


@dataclass(frozen=True)
class BenchConfig:
    """Measuring ways to run a model.

    Attributes:
        batches: pictures or texts of a pass, each of which is measured.
        rounds: passes of each way, taken in turn; the median counts.
        tokens: of a text.
        exact: choose among those that compute in float32.
        keep: keep the choice, which pipelines and servers follow.
    """

    batches: list[int] = field(default_factory=lambda: [1, 8, 32])
    rounds: int = 7
    tokens: int = 14
    exact: bool = False
    keep: bool = True

    def __post_init__(self) -> None:
        check_range("rounds", self.rounds, 1, 10_000)
        check_range("tokens", self.tokens, 2, 100_000)
        if not self.batches:
            raise ValueError("batches needs a number such as 8")
        for batch in self.batches:
            check_range("batches", batch, 1, 65536)
