"""A recipe: everything that a pre-training run needs. Nothing here imports torch."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, make_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from xfm.config.data import (
    STREAMS,
    Augmentation,
    CorpusConfig,
    DataConfig,
    StreamConfig,
    ValidationConfig,
)
from xfm.config.gradients import GradientConfig
from xfm.config.model import ModelConfig, lacks
from xfm.config.plain import to_plain
from xfm.config.ranges import check_range
from xfm.config.training import LossConfig, TrainingConfig
from xfm.errors import UserError
from xfm.paths import home_path, is_url


@dataclass(frozen=True)
class InitConfig:
    """Weights that a run begins with; what none of them gives is initialised at random.

    Attributes:
        model: model folder whose whole model is taken, with its configuration, tokenizer and preprocessing in
            place of the recipe's.
        image_size: side in pixels of the pictures that this model is to take, if not its own.
        vision: model folder whose vision encoder is taken.
        language: model folder whose language encoder is taken.
    """

    model: str | None = None
    image_size: int | None = None
    vision: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class PhaseStream:
    """What a phase changes of a stream; what is not given stays the recipe's.

    Attributes:
        batch_size: samples of a batch, which all processes share; 0 leaves the stream out.
        corpora: the weighted corpora.
        augmentation: how pictures are varied.
        grouped: whether corpora whose records come in groups, such as twins, take part; contrast learns names
            sooner without pictures that it can hardly tell apart.
        tokens: of plain text, most tokens of a batch, see `StreamConfig`. A phase that gives a `batch_size`
            and no tokens takes so many texts, whatever their length.
    """

    batch_size: int | None = None
    corpora: list[CorpusConfig] | None = None
    augmentation: Augmentation | None = None
    grouped: bool = True
    tokens: int | None = None

    def applied(self, stream: StreamConfig) -> StreamConfig:
        """The stream with these changes.

        Raises:
            UserError: without groups there is nothing left of it.
        """
        counts = {"tokens": 0} if self.batch_size is not None else {}
        changed = replace(stream, **counts | dict(_given(self)))
        if self.grouped:
            return changed
        corpora = [corpus for corpus in changed.corpora if corpus.group == 1]
        if changed.taken and not corpora:
            raise UserError(
                "a phase of the curriculum leaves corpora with groups out (grouped: false), and there are no "
                "others: give the stream one without, or the phase its own"
            )
        return replace(changed, corpora=corpora)


def _changes(name: str, config: type[Any]) -> Any:
    """A class of the fields of a configuration that may each be given, or be the recipe's."""
    told = {
        "__doc__": f"What a phase changes of `{config.__name__}`; what is not given stays the recipe's.",
        "__module__": __name__,
    }
    kinds = get_type_hints(config)
    given = [(f.name, kinds[f.name] | None, None) for f in fields(config)]
    return make_dataclass(name, given, namespace=told, frozen=True)


if TYPE_CHECKING:
    PhaseWeights = LossConfig
    PhaseGradients = GradientConfig
else:
    PhaseWeights = _changes("PhaseWeights", LossConfig)
    PhaseGradients = _changes("PhaseGradients", GradientConfig)


@dataclass(frozen=True)
class Phase:
    """A stretch of the run that changes streams or weights; what it does not give stays the recipe's.

    Attributes:
        until: share of the run, above 0 and at most 1, at which the phase ends: of its steps, or of its time
            where the clock decides.
        text: changes of `data.text`.
        image: changes of `data.image`.
        pair: changes of `data.pair`.
        region: changes of `data.region`.
        weights: changes of `training.weights`; what has weight 0 is not computed, so that a phase of contrast
            alone sees many more pictures in the same time.
        gradients: changes of `training.gradients`, such as for a phase in which matching reaches the language
            encoder, as it does in the paper's fine-tunings.
        inherit_words: at its start the fusion encoder takes over the language encoder's embeddings and token
            head, so that IMLM need not learn from pictures what masked text has taught about words. For the
            phase with which fusion begins.
        rate: factor of the learning rates in this phase. Matching learns at a lower rate than that at which
            contrast learns fastest.
    """

    until: float
    text: PhaseStream | None = None
    image: PhaseStream | None = None
    pair: PhaseStream | None = None
    region: PhaseStream | None = None
    weights: PhaseWeights | None = None
    gradients: PhaseGradients | None = None
    inherit_words: bool = False
    rate: float = 1.0

    def __post_init__(self) -> None:
        check_range("curriculum.rate", self.rate, 0)

    def data(self, data: DataConfig) -> DataConfig:
        """The recipe's data with this phase's changes."""
        own = {name: getattr(self, name) or PhaseStream() for name in data.streams}
        return replace(data, **{name: own[name].applied(stream) for name, stream in data.streams.items()})

    def losses(self, weights: LossConfig) -> LossConfig:
        """The recipe's weights with this phase's changes."""
        return replace(weights, **dict(_given(self.weights)))

    def reaching(self, gradients: GradientConfig) -> GradientConfig:
        """Where the recipe's gradients go, with this phase's changes."""
        return replace(gradients, **dict(_given(self.gradients)))


def _given(change: PhaseStream | PhaseWeights | PhaseGradients | None) -> Iterator[tuple[str, Any]]:
    """Names and values of the settings that a change gives."""
    for f in fields(change) if change is not None else ():
        if f.default is None and (value := getattr(change, f.name)) is not None:
            yield f.name, value


@dataclass(frozen=True)
class Stretch:
    """A phase with all that holds in it.

    Attributes:
        until: share of the run at which it ends.
        data: its data, paths resolved.
        weights: weights of its losses.
        gradients: which encoders its losses reach.
        inherit_words, rate: see `Phase`.
    """

    until: float
    data: DataConfig
    weights: LossConfig
    gradients: GradientConfig = field(default_factory=GradientConfig)
    inherit_words: bool = False
    rate: float = 1.0


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
        curriculum: phases before the recipe's own data takes over, in the order of `until`.
    """

    name: str = "custom"
    description: str = ""
    licence: str | None = None
    root: str = "."
    init: InitConfig = field(default_factory=InitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    curriculum: list[Phase] = field(default_factory=list)

    def __post_init__(self) -> None:
        ends = [0.0, *(phase.until for phase in self.curriculum)]
        if any(end <= before for before, end in pairwise(ends)) or ends[-1] > 1:
            raise ValueError("curriculum: every `until` must exceed the one before, and none may exceed 1")
        if not self.model.sees:
            raise ValueError(f"pre-training takes texts and pictures, and {lacks()}")
        validating = any(stream.taken for stream in self.data.validation.streams.values())
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
        if not self.init.model and self.data.patch_mask.patches > self.model.seeing.patches:
            raise ValueError(
                f"data.patch_mask.patches must not exceed the picture's {self.model.seeing.patches} patches"
            )

    def stretches(self) -> list[Stretch]:
        """The run's phases, the last one with the recipe's own data; none that is without a step."""
        training, start, found = self.training, 0.0, []
        for phase in [*self.curriculum, Phase(1.0)]:
            stop = phase.until if training.minutes else round(phase.until * training.steps)
            if stop > start:
                data = resolve_paths(phase.data(self.data), home_path(self.root))
                weights = phase.losses(training.weights)
                if not weights.mim:  # no masks where nothing learns of them
                    data = replace(data, patch_mask=replace(data.patch_mask, on_pairs=False))
                reached = phase.reaching(training.gradients)
                found.append(Stretch(phase.until, data, weights, reached, phase.inherit_words, phase.rate))
                start = stop
        return found

    def validating(self, seed: int) -> "Recipe":
        """The recipe whose batches are those of this one's validation.

        Args:
            seed: of what the batches hold.
        """
        data = replace(self.data, **self.data.validation.streams, validation=ValidationConfig(), cache_mb=0)
        steps = self.training.validate_steps
        training = replace(self.training, steps=steps, minutes=0.0, accumulate=1, seed=seed, validate_every=0)
        return replace(self, data=data, training=training, curriculum=[])

    def ends(self) -> list[float]:
        """Shares of the run at which a phase ends and another one begins."""
        return [stretch.until for stretch in self.stretches()[:-1]]

    def overruled(self, before: "Recipe") -> list[str]:
        """Sentences on settings that differ from those of `before` and yet not hold in every phase.

        Args:
            before: the recipe without the changes, such as those of the command line.
        """
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
                    for name, value in _given(change)
                    if getattr(now, name) not in (getattr(was, name), value)
                ]
        return found


def resolve_paths(data: DataConfig, root: Path) -> DataConfig:
    """The same data with every relative path below `root`; addresses stay as they are."""

    def stream(config: StreamConfig) -> StreamConfig:
        corpora = [
            c if is_url(c.path) else replace(c, path=str(root / home_path(c.path))) for c in config.corpora
        ]
        return replace(config, corpora=corpora)

    streams = {name: stream(config) for name, config in data.streams.items()}
    held_out = {name: stream(config) for name, config in data.validation.streams.items()}
    validation, tokenizer = ValidationConfig(**held_out), str(root / home_path(data.tokenizer))
    return replace(data, tokenizer=tokenizer, validation=validation, **streams)
