"""The configuration as transformers holds it."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.config.restore import from_plain
from xfm.modeling.shared_format import MODEL_TYPE


class XFMConfig(PreTrainedConfig):
    """`ModelConfig` for transformers: the same fields, as plain values, and transformers' own.

    Attributes:
        vision, language, fusion: the parts, as in a model folder's `config.json`; what is left out takes its
            default.
        projection: width E of the contrastive space.
        temperature: initial contrastive temperature.
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
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        for name, value in to_plain(self._read(kwargs.get("name_or_path", ""))).items():
            setattr(self, name, value)
        super().__post_init__(**kwargs)

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
