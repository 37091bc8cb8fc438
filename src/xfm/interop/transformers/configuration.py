"""The configuration as transformers holds it."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from xfm.config.model import ModelConfig, lacks
from xfm.config.plain import to_plain
from xfm.config.typed import from_plain
from xfm.errors import UserError
from xfm.modeling.shared_format import LABEL_FIELDS, MODEL_TYPE

_READ = "_labels_read"


class XFMConfig(PreTrainedConfig):
    """`ModelConfig` for transformers: the same fields, as plain values, and transformers' own.

    Attributes:
        vision, language, fusion: the parts, as in a model folder's `config.json`; what is left out takes its
            default.
        projection: width E of the contrastive space.
        temperature: initial contrastive temperature.
        pixel_head: whether there is a head for the pixels of masked patches.
        tie_word_embeddings: whether the MLM head shares the word matrix, as X-FM's does.

    Raises:
        UserError: an unknown field of a part, or a value that it cannot have.
    """

    model_type = MODEL_TYPE

    vision: dict[str, Any] | None = None
    language: dict[str, Any] | None = None
    fusion: dict[str, Any] | None = None
    projection: int = 256
    temperature: float = 0.07
    pixel_head: bool = False
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        for name, value in to_plain(self._read(kwargs.get("name_or_path", ""))).items():
            setattr(self, name, value)
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As transformers' method; another number of labels than the stored one gives new labels.

        Raises:
            UserError: the model is of language alone.
        """
        if config_dict.get("vision", {}) is None:  # left out, the vision encoder is the default one
            raise UserError(f"transformers' classes of X-FM take models of texts and pictures, and {lacks()}")
        wanted, stored = kwargs.get("num_labels"), config_dict.get("id2label")
        if wanted is not None and stored is not None and len(stored) != wanted:
            config_dict = {key: value for key, value in config_dict.items() if key not in LABEL_FIELDS}
        answer: Any = super().from_dict(config_dict, **kwargs)
        config = answer[0] if isinstance(answer, tuple) else answer
        if wanted is None and kwargs.get("id2label") is None:
            setattr(config, _READ, dict(config.id2label))
        return answer

    @property
    def chosen_labels(self) -> bool:
        """Whether who loads chose the labels or their number: they are neither read nor a default."""
        return self.id2label != getattr(self, _READ, None)

    def forget_labels(self) -> None:
        """Number the labels, as those of a new head."""
        count = self.num_labels or 2
        self.id2label = {place: f"LABEL_{place}" for place in range(count)}
        self.label2id = {label: place for place, label in self.id2label.items()}
        self.problem_type = None

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return {key: value for key, value in super().to_dict().items() if key != _READ}

    @property
    def native(self) -> ModelConfig:
        """The configuration as the rest of this package takes it."""
        return self._read(self.name_or_path or "")

    def _read(self, name: str) -> ModelConfig:
        values = {f.name: getattr(self, f.name) for f in fields(ModelConfig)}
        given = {field: value for field, value in values.items() if value is not None}
        return from_plain(ModelConfig, given, Path(name) / "config.json")

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self.native.language.vocab_size

    @property
    def hidden_size(self) -> int:
        """Width of the text states."""
        return self.native.language.width
