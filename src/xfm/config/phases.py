"""Phases of a pre-training: what each changes of the recipe, and what then holds in it."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, make_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from xfm.config.data import Augmentation, CorpusConfig, DataConfig, StreamConfig
from xfm.config.model import GradientConfig
from xfm.config.training import LossConfig, NegativesConfig, TrainingConfig
from xfm.config.typed import check_limits, limited
from xfm.core.errors import UserError

C = TypeVar("C", StreamConfig, LossConfig, NegativesConfig, GradientConfig)


@dataclass(frozen=True)
class PhaseStream:
    """What a phase changes of a stream; what is not given stays the recipe's.

    Attributes:
        batch_size: samples of a batch, which all processes share; 0 leaves the stream out.
        corpora: the weighted corpora.
        augmentation: how pictures are varied.
        grouped: whether corpora whose records come in groups, such as twins, take part; contrast learns names
            sooner without pictures that it can hardly tell apart.
    """

    batch_size: int | None = None
    corpora: list[CorpusConfig] | None = None
    augmentation: Augmentation | None = None
    grouped: bool = True

    def applied(self, stream: StreamConfig) -> StreamConfig:
        """The stream with these changes; a UserError where no group is left."""
        own = changed(stream, self)
        if self.grouped:
            return own
        corpora = [corpus for corpus in own.corpora if corpus.group == 1]
        if own.batch_size and not corpora:
            raise UserError(
                "a phase of the curriculum leaves corpora with groups out (grouped: false), and there are no "
                "others: give the stream one without, or the phase its own"
            )
        return replace(own, corpora=corpora)


def _changes(name: str, config: type[Any]) -> Any:
    told = {
        "__doc__": f"What a phase changes of `{config.__name__}`; what is not given stays the recipe's.",
        "__module__": __name__,
    }
    kinds = get_type_hints(config)
    given = [(f.name, kinds[f.name] | None, None) for f in fields(config)]
    return make_dataclass(name, given, namespace=told, frozen=True)


if TYPE_CHECKING:
    PhaseWeights = LossConfig
    PhaseNegatives = NegativesConfig
    PhaseGradients = GradientConfig
else:
    PhaseWeights = _changes("PhaseWeights", LossConfig)
    PhaseNegatives = _changes("PhaseNegatives", NegativesConfig)
    PhaseGradients = _changes("PhaseGradients", GradientConfig)


@dataclass(frozen=True)
class PhaseConfig:
    """What a phase of a run changes of streams or weights; what it does not give stays the recipe's.

    Attributes:
        until: share of the run, of its steps or its time, above 0 and at most 1, at which the phase ends.
        text, image, pair, region: changes of the streams of `data`.
        weights, negatives, gradients: changes of those of `training`; what has weight 0 is not computed.
        init_fusion_embeddings_from_language: at its start the fusion encoder takes over the language
            encoder's embeddings and token head, so that IMLM need not learn from pictures what masked text
            has taught about words. For the phase with which fusion begins.
        lr_scale: factor of the learning rates in this phase.
    """

    until: float = limited(MISSING, 0, 1)
    text: PhaseStream | None = None
    image: PhaseStream | None = None
    pair: PhaseStream | None = None
    region: PhaseStream | None = None
    weights: PhaseWeights | None = None
    negatives: PhaseNegatives | None = None
    gradients: PhaseGradients | None = None
    init_fusion_embeddings_from_language: bool = False
    lr_scale: float = limited(1.0, 0)

    def check(self, place: str, training: TrainingConfig) -> None:
        """Refuse what a phase cannot change of a recipe's training; `place` begins the names of fields."""
        check_limits(self, f"{place}.")
        try:
            changed(training.weights, self.weights)
            changed(training.negatives, self.negatives)
        except ValueError as error:
            raise ValueError(f"{place}.{error}") from error

    def data(self, data: DataConfig) -> DataConfig:
        """The recipe's data with this phase's changes."""
        own = {name: getattr(self, name) or PhaseStream() for name in data.streams}
        return replace(data, **{name: own[name].applied(stream) for name, stream in data.streams.items()})


def given(
    change: PhaseStream | PhaseWeights | PhaseNegatives | PhaseGradients | None,
) -> Iterator[tuple[str, Any]]:
    """Names and values of the settings that a change gives."""
    for f in fields(change) if change is not None else ():
        if f.default is None and (value := getattr(change, f.name)) is not None:
            yield f.name, value


def changed(config: C, change: PhaseStream | PhaseWeights | PhaseNegatives | PhaseGradients | None) -> C:
    """A part of the recipe with what a phase changes of it."""
    return replace(config, **dict(given(change)))


@dataclass(frozen=True)
class Phase:
    """A phase with all that holds in it, the paths of its data resolved; see `PhaseConfig`."""

    until: float
    data: DataConfig
    weights: LossConfig
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    gradients: GradientConfig = field(default_factory=GradientConfig)
    init_fusion_embeddings_from_language: bool = False
    lr_scale: float = 1.0
