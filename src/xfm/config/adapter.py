"""What a folder of an adapter says of itself. Nothing here imports torch."""

from dataclasses import dataclass

from xfm.config.ranges import check_range

MOST_RANK, MOST_ALPHA = 1 << 12, 1 << 20


@dataclass(frozen=True)
class AdapterConfig:
    """An adapter: what a fine-tuning learned, without the model that it began with.

    Attributes:
        base: that model: an absolute path of its folder, or its name.
        weights: Sha256 of its `model.safetensors`, by which it is known again.
        rank: of LoRA's additions.
        alpha: their scale; they are multiplied by alpha / rank.
    """

    base: str
    weights: str
    rank: int
    alpha: int

    def __post_init__(self) -> None:
        check_range("rank", self.rank, 1, MOST_RANK)
        check_range("alpha", self.alpha, 0, MOST_ALPHA)

    @property
    def scale(self) -> float:
        """What the additions are multiplied by."""
        return self.alpha / self.rank
