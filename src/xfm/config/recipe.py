"""A recipe: everything that a pre-training run needs. Nothing here imports torch."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from xfm.config.data import STREAMS, DataConfig, StreamConfig, StreamsConfig
from xfm.config.model import ModelConfig
from xfm.config.phases import Phase, PhaseConfig, changed, given
from xfm.config.plain import to_plain
from xfm.config.training import TrainingConfig
from xfm.core.paths import home_path, is_url


@dataclass(frozen=True)
class InitConfig:
    """Weights that a run begins with; what none of them gives is initialised at random.

    Attributes:
        model: model folder that is taken whole, with its configuration, tokenizer and preprocessing.
        image_size: side in pixels of the pictures that this model is to take, if not its own.
        vision: model folder whose vision encoder is taken.
        language: model folder whose language encoder is taken.
        new: beginnings of the names of parameters of `model` that learn at the rate of new ones all the same.
        frozen: beginnings of the names of parameters that stay as they begin.
    """

    model: str | None = None
    image_size: int | None = None
    vision: str | None = None
    language: str | None = None
    new: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A pre-training run.

    Attributes:
        name: the recipe's name, kept in the model's provenance.
        description: what the recipe is for and what it needs.
        licence: of the trained weights, as SPDX names it (Apache-2.0); kept in the model's provenance.
        root: folder that the relative paths of the data start from.
        init: weights to begin with.
        model: the model.
        data: the data.
        training: the training.
        curriculum: phases, in the order of `until`; after the last one the recipe's own settings hold.
    """

    name: str = "custom"
    description: str = ""
    licence: str | None = None
    root: str = "."
    init: InitConfig = field(default_factory=InitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    curriculum: list[PhaseConfig] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, phase in enumerate(self.curriculum):
            phase.check(f"curriculum.{number}", self.training)
        ends = [0.0, *(phase.until for phase in self.curriculum)]
        if any(end <= before for before, end in pairwise(ends)) or ends[-1] > 1:
            raise ValueError("curriculum: every `until` must exceed the one before, and none may exceed 1")
        validating = any(stream.batch_size for stream in self.data.validation.streams.values())
        if validating != bool(self.training.validate_every):
            raise ValueError(
                "training.validate_every and data.validation go together: give the first a number of steps "
                "and the other a stream with a batch size, or neither"
            )
        longest = max(self.data.caption_mask.max_tokens, self.data.text_mask.max_tokens)
        if longest > self.model.language.longest:
            needed = longest + self.model.language.first_position
            raise ValueError(
                f"model.language.max_positions must be at least {needed} for texts of {longest} tokens"
            )
        if not self.init.model and self.data.patch_mask.patches > self.model.vision.patches:
            raise ValueError(
                f"data.patch_mask.patches must not exceed the picture's {self.model.vision.patches} patches"
            )

    def phases(self) -> list[Phase]:
        """The run's phases, the last one with the recipe's own data; none that is without a step."""
        training, start, found = self.training, 0.0, []
        for phase in [*self.curriculum, PhaseConfig(1.0)]:
            stop = phase.until if training.minutes else round(phase.until * training.steps)
            if stop > start:
                data = resolve_paths(phase.data(self.data), home_path(self.root))
                weights = changed(training.weights, phase.weights)
                if not weights.mim:  # no masks where nothing learns of them
                    data = replace(data, patch_mask=replace(data.patch_mask, on_pairs=False))
                negatives = changed(training.negatives, phase.negatives)
                reached = changed(training.gradients, phase.gradients)
                more = (phase.init_fusion_embeddings_from_language, phase.lr_scale)
                found.append(Phase(phase.until, data, weights, negatives, reached, *more))
                start = stop
        return found

    def validating(self, seed: int) -> "Recipe":
        """The recipe of validation batches, weighed as in the last phase, without a memory between looks."""
        data = replace(self.data, **self.data.validation.streams, validation=StreamsConfig(), cache_mb=0)
        last = self.phases()[-1]
        training = replace(
            self.training,
            steps=self.training.validate_steps,
            minutes=0.0,
            gradient_accumulation_steps=1,
            seed=seed,
            validate_every=0,
            weights=last.weights,
            negatives=replace(last.negatives, queue_size=0),
        )
        return replace(self, data=data, training=training, curriculum=[])

    def ends(self) -> list[float]:
        """Shares of the run at which a phase ends and another one begins."""
        return [phase.until for phase in self.phases()[:-1]]

    def overruled(self, before: "Recipe") -> list[str]:
        """Sentences on settings that differ from those of `before`, and yet not hold in every phase."""
        data, old = self.data, before.data
        found: list[str] = []
        for phase in self.curriculum:
            streams = [(f"data.{n}", getattr(phase, n), data.streams[n], old.streams[n]) for n in STREAMS]
            new, first = self.training, before.training
            weights = ("training.weights", phase.weights, new.weights, first.weights)
            reached = ("training.gradients", phase.gradients, new.gradients, first.gradients)
            for place, change, now, was in (*streams, weights, reached):
                found += [
                    f"{place}.{name} {to_plain(getattr(now, name))}: the phase until {phase.until:g} of the "
                    f"run keeps its own {to_plain(value)} (see curriculum)"
                    for name, value in given(change)
                    if getattr(now, name) not in (getattr(was, name), value)
                ]
        return found


def resolve_paths(data: DataConfig, root: Path) -> DataConfig:
    """The same data with every relative path below `root`; addresses stay as they are."""

    def stream(config: StreamConfig) -> StreamConfig:
        paths = [one.path if is_url(one.path) else str(root / home_path(one.path)) for one in config.corpora]
        corpora = [replace(one, path=path) for one, path in zip(config.corpora, paths, strict=True)]
        return replace(config, corpora=corpora)

    streams = {name: stream(config) for name, config in data.streams.items()}
    held_out = {name: stream(config) for name, config in data.validation.streams.items()}
    validation, tokenizer = StreamsConfig(**held_out), str(root / home_path(data.tokenizer))
    return replace(data, tokenizer=tokenizer, validation=validation, **streams)
