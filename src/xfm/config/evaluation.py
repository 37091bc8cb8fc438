"""Configuration of the evaluation. Nothing here imports torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from xfm.config.finetune import FinetuneConfig
from xfm.config.training import MAX_MINUTES, LearningRates, Precision
from xfm.config.typed import MAX_BATCH, MAX_SEED, Limited, check_limits, limited, refuse


class Part(StrEnum):
    """The parts of an evaluation; each can run, and is cached, alone."""

    RETRIEVAL = "retrieval"
    HARD = "hard"
    MASKED_TOKENS = "masked_tokens"
    CATEGORY = "category"
    DIGITS = "digits"
    ENTAILMENT = "entailment"
    PARAPHRASE = "paraphrase"
    VQA = "vqa"
    REASONING = "reasoning"
    GROUNDING = "grounding"
    MATCHING = "matching"
    ABSENCE = "absence"


WITHOUT_VALIDATION = frozenset({Part.CATEGORY, Part.DIGITS, Part.MATCHING})
"""Parts with test splits only, and matching, which is calibrated on the validation split."""


@dataclass(frozen=True)
class PartCost:
    """What a part takes of the time but its fine-tunings, and each of these (of the task, without one
    modality, from scratch), in seconds of a core with `nano`; only ratios count."""

    rest: float
    tunings: tuple[float, ...] = ()

    def without_baselines(self) -> "PartCost":
        """With the fine-tuning of the task alone."""
        return PartCost(self.rest / len(self.tunings), self.tunings[:1]) if self.tunings else self


WORK: Mapping[Part, PartCost] = {
    Part.RETRIEVAL: PartCost(17),
    Part.HARD: PartCost(3),
    Part.MASKED_TOKENS: PartCost(3),
    Part.CATEGORY: PartCost(19),
    Part.DIGITS: PartCost(15),
    Part.ENTAILMENT: PartCost(5, (56, 36, 56)),
    Part.PARAPHRASE: PartCost(6, (44, 31, 44)),
    Part.VQA: PartCost(24, (86, 70, 86)),
    Part.REASONING: PartCost(12, (61, 43, 61)),
    Part.GROUNDING: PartCost(9, (30, 25, 30)),
    Part.MATCHING: PartCost(6),
    Part.ABSENCE: PartCost(3),
}
"""How an evaluation by the clock, such as a quickstart's, shares its time (`xfm.evaluation.context`)."""
TOGETHER = (
    (Part.RETRIEVAL, Part.HARD, Part.MATCHING, Part.ABSENCE),
    (Part.ENTAILMENT, Part.PARAPHRASE),
)
"""Parts that share encoded captions or a fine-tuned model: one process does them."""
MAX_SCALE, MAX_PROCESSES = 1000, 256
"""Of steps and rows, and of processes: a larger one is a slip."""
AFTERWARDS = 3.0
"""Seconds for the report, likewise."""
MOST_TOKENS = 64
"""Texts of the short fine-tunings are cut there."""


@dataclass(frozen=True)
class ShortTuning(LearningRates):
    """A short fine-tuning of the evaluation, and the rows it sees.

    Attributes:
        lr: peak learning rate of the pre-trained parts.
        steps: optimiser steps.
        batch_size: rows per step.
        train_rows: training rows used at most; 0 takes all.
        test_rows: rows of each test split used at most; 0 takes all.
    """

    steps: int = limited(300, 1)
    batch_size: int = limited(64, 1, MAX_BATCH)
    train_rows: int = limited(0, 0)
    test_rows: int = limited(2000, 0)

    def whole(self, seed: int, precision: Precision, device: str) -> FinetuneConfig:
        """The same as any fine-tuning is told of it; there are no validation rows to choose a model by."""
        names = {one.name for one in fields(self)} - {"train_rows", "test_rows"}
        own = {name: getattr(self, name) for name in names}
        return FinetuneConfig(**own, max_tokens=MOST_TOKENS, seed=seed, precision=precision, device=device)


@dataclass(frozen=True)
class ProbeConfig:
    """Linear probe and k-NN on frozen features.

    Attributes:
        inverse_penalties: values of scikit-learn's C, among which training rows choose.
        neighbours: k of the cosine k-NN.
        pixel_side: side in pixels to which pictures are shrunk for the raw-pixel baseline.
        train_rows, test_rows: rows used at most; 0 takes all.
    """

    inverse_penalties: list[float] = field(default_factory=lambda: [0.1, 0.01, 1.0])
    neighbours: int = limited(10, 1)
    pixel_side: int = limited(24, 1)
    train_rows: int = limited(4000, 0)
    test_rows: int = limited(2000, 0)

    def __post_init__(self) -> None:
        positive = self.inverse_penalties and min(self.inverse_penalties) > 0
        refuse({"inverse_penalties must hold a positive number": not positive})
        check_limits(self, "probe.")


@dataclass(frozen=True)
class RetrievalConfig(Limited, place="retrieval."):
    """Zero-shot retrieval, and whether a thing is there at all.

    Attributes:
        rows: captions used at most for each split; 0 takes all.
        held_out_rows: the same of splits with what no training picture shows.
        shortlist: candidates per query, by contrastive score, that the matching head re-ranks.
        hard_rows: rows of the hard split used at most; 0 takes all.
        absence_rows: phrases used at most that may not be there; 0 takes all.
        absence_queries: captions that are searched at most where they may not be there; 0 takes all.
        absence_gallery: pictures of each gallery where they are searched.
    """

    rows: int = limited(1000, 0)
    held_out_rows: int = limited(1000, 0)
    shortlist: int = limited(32, 1)
    hard_rows: int = limited(1000, 0)
    absence_rows: int = limited(1000, 0)
    absence_queries: int = limited(300, 0)
    absence_gallery: int = limited(100, 1)


LEAST: Mapping[type, Mapping[str, int]] = {
    ShortTuning: {"steps": 2, "test_rows": 40},
    ProbeConfig: {"train_rows": 100, "test_rows": 60},
    RetrievalConfig: dict.fromkeys(
        ("rows", "held_out_rows", "hard_rows", "absence_rows", "absence_queries"), 50
    ),
}
"""The numbers that `scale` multiplies, and what they are not shrunk below."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Everything an evaluation can be told.

    Attributes:
        seed: seed of masks, samples, heads and the order of fine-tuning rows.
        precision: arithmetic of the forward passes.
        device: auto, cpu, cuda, cuda:1, ...
        minutes: time for the evaluation, which its fine-tunings share; at 0 their `steps` decide.
        scale: multiplies steps and rows of everything below; 1 is the full evaluation, 0.05 a smoke run.
        parts: the parts to run.
        validation: score the validation splits in place of the tests; parts without one are left out.
        baselines: beside every fine-tuning, the same without each modality, and from random weights.
        keep_models: keep the models of the short fine-tunings in OUT/tasks, each as large as the model.
        batch_size: pictures or texts per forward pass without gradients.
        processes: on a CPU, how many do parts side by side, each with its share of the threads; each holds
            the model.
        max_bad: rows with an unreadable picture to leave out at most; else 100 and half of a file.
        masked_rows: captions whose words are masked.
        masked_share: share of a caption's content words that is masked.
        retrieval, probe: zero-shot retrieval; probes on frozen features.
        entailment, paraphrase, vqa, reasoning, grounding: the short fine-tunings.
    """

    seed: int = limited(0, 0, MAX_SEED)
    precision: Precision = Precision.AUTO
    device: str = "auto"
    minutes: float = limited(0.0, 0, MAX_MINUTES)
    scale: float = limited(1.0, 1e-9, MAX_SCALE)
    parts: list[Part] = field(default_factory=lambda: list(Part))
    validation: bool = False
    baselines: bool = True
    keep_models: bool = True
    batch_size: int = limited(128, 1, MAX_BATCH)
    processes: int = limited(1, 1, MAX_PROCESSES)
    max_bad: int | None = limited(None, 0)
    masked_rows: int = limited(1000, 0)
    masked_share: float = limited(0.3, 0, 1)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    entailment: ShortTuning = field(default_factory=lambda: ShortTuning(steps=750, lr=2e-4, muon_lr=1e-3))
    paraphrase: ShortTuning = field(default_factory=lambda: ShortTuning(steps=500, lr=2e-4, muon_lr=1e-3))
    vqa: ShortTuning = field(
        default_factory=lambda: ShortTuning(steps=300, lr=1.5e-4, muon_lr=5e-4, new_lr_multiplier=10.0)
    )
    reasoning: ShortTuning = field(default_factory=lambda: ShortTuning(steps=200, muon_lr=5e-4))
    grounding: ShortTuning = field(default_factory=lambda: ShortTuning(steps=150, muon_lr=5e-4))

    def __post_init__(self) -> None:
        check_limits(self)
        for part in fields(self):
            if isinstance(tuning := getattr(self, part.name), ShortTuning):
                tuning.check_rates(f"{part.name}.")
        said = f"validation: none of {', '.join(self.parts)} has a validation split"
        refuse({said: not self._parts_to_run()})

    def _parts_to_run(self) -> list[Part]:
        return [part for part in self.parts if not (self.validation and part in WITHOUT_VALIDATION)]

    def shares(self, parts: Sequence[Part]) -> list[list[Part]]:
        """Parts for each of the `processes`, about equally long; first what shows the machine's speed."""
        costs = {part: one if self.baselines else one.without_baselines() for part, one in WORK.items()}

        def seconds(some: Sequence[Part]) -> float:
            return sum(costs[part].rest + sum(costs[part].tunings) for part in some)

        joined = [[part for part in some if part in parts] for some in TOGETHER]
        alone = [[part] for part in parts if not any(part in some for some in TOGETHER)]
        shares: list[list[Part]] = [[] for _ in range(self.processes)]
        for some in sorted((*joined, *alone), key=seconds, reverse=True):
            min(shares, key=seconds).extend(some)
        return [sorted(share, key=lambda part: len(WORK[part].tunings)) for share in shares if share]

    def resolved(self) -> "EvaluationConfig":
        """The configuration with `scale` worked into every number, and without parts that cannot run."""
        scaled: dict[str, Any] = {"masked_rows": _shrink(self.masked_rows, self.scale, 50)}
        for one in fields(self):
            config = getattr(self, one.name)
            if least := LEAST.get(type(config)):
                shrunk = {
                    name: _shrink(getattr(config, name), self.scale, low) for name, low in least.items()
                }
                scaled[one.name] = replace(config, **shrunk)
        return replace(self, scale=1.0, parts=self._parts_to_run(), **scaled)


def _shrink(number: int, scale: float, least: int) -> int:
    """`number` times `scale`, at least `least` but never more than `number` asked for; 0 (all) stays 0."""
    if number == 0 or scale == 1.0:
        return number
    return max(min(number, least), round(number * scale))
