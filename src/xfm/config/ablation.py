"""Variants of a pre-training that ask what a part of the method is worth. Nothing here imports torch."""

from dataclasses import dataclass, field

from xfm.config.typed import check_limits, limited
from xfm.core.errors import UserError, suggest


@dataclass(frozen=True)
class Variant:
    """A recipe with other settings: `options` as `xfm pretrain` takes them, and losses that have no weight in
    any phase."""

    name: str
    meaning: str
    options: tuple[str, ...] = ()
    unweighted: tuple[str, ...] = ()


FULL = "full"
VARIANTS = {
    one.name: one
    for one in (
        Variant(FULL, "the recipe as it is"),
        Variant(
            "into-language",
            "the fusion losses reach the language encoder, as by a switch of the published code",
            tuple(
                word
                for name in ("itm", "imlm", "bbp")
                for word in (f"--training.gradients.{name}", "[language, vision, fusion]")
            ),
        ),
        Variant(
            "mim-pixels",
            "MIM toward the pixels of the masked patches, not toward what the encoder makes of the picture",
            ("--training.mim_target", "pixels", "--model.pixel_head", "true"),
        ),
        Variant("mim-unpaired", "MIM on pictures without text only", ("--data.patch_mask.on_pairs", "false")),
        Variant("no-mim", "no MIM", unweighted=("mim",)),
        Variant("no-boxes", "no loss of boxes", unweighted=("box_l1", "box_giou")),
        Variant("no-text", "no plain text", ("--data.text.batch_size", "0"), unweighted=("mlm",)),
    )
}
"""What can be asked of a recipe, by name; each is compared with the first."""

AVERAGES: dict[str, tuple[str, ...]] = {
    "language": ("entailment/{text}/accuracy", "paraphrase/{text}/accuracy"),
    "vision": ("category/test/probe_accuracy", "digits/test/probe_accuracy"),
    "vision-language": (
        "retrieval/{seen}/text_r1",
        "retrieval/{seen}/image_r1",
        "vqa/{seen}/accuracy",
        "reasoning/{seen}/accuracy",
        "grounding/{seen}/acc50",
    ),
}
"""The averages of the paper's tables, over the tasks of the embedded world; parts without a validation split
have the tests' scores in none."""


@dataclass(frozen=True)
class AblationConfig:
    """Which runs an ablation makes.

    Attributes:
        variants: names of `VARIANTS`; `full`, with which the others are compared, is always among them.
        seeds: each variant is trained with the seeds 0 to this, less one.
        scale: of the evaluations, see `xfm evaluate`.
        validation: score the validation splits in place of the tests, to choose settings by.
    """

    variants: list[str] = field(default_factory=lambda: list(VARIANTS))
    seeds: int = limited(3, 1, 1000)
    scale: float = limited(1.0, 1e-9, 1)
    validation: bool = False

    def __post_init__(self) -> None:
        check_limits(self)
        for name in self.variants:
            if name not in VARIANTS:
                raise UserError(f"there is no variant {name}; {suggest(name, [*VARIANTS], 'see --help')}")

    @property
    def chosen(self) -> list[Variant]:
        """The variants, `full` first, each once."""
        return [VARIANTS[name] for name in dict.fromkeys([FULL, *self.variants])]
