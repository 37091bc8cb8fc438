"""A text encoder of transformers behind the protocol of the language encoder."""

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from xfm.config.encoders import MAX_DEPTH, TransformersTextConfig
from xfm.errors import UserError, import_extra
from xfm.modeling.layers import Embeddings
from xfm.modeling.libraries import explained, find_layers, last_norms

# What would load code or other weights, or belongs to the place where the file came from.
_DROPPED = frozenset({"auto_map", "quantization_config", "dtype", "torch_dtype", "_name_or_path"})


class TransformersText(nn.Module):
    """Token ids to hidden states by any encoder of transformers; its pooler is left out."""

    def __init__(self, config: TransformersTextConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = create_trunk(config.settings)

    @property
    def layers(self) -> list[nn.Module]:
        """The members of the model's list of layers."""
        return find_layers(self.trunk)

    @property
    def last_norms(self) -> list[nn.Module]:
        """That of models that normalise before each layer."""
        return last_norms(self.trunk, self.layers)

    @property
    def words(self) -> nn.Embedding:
        """The word matrix [V, D], to which the MLM head is tied."""
        return self.trunk.get_input_embeddings()

    def copy_words(self, embeddings: Embeddings) -> None:
        """Overwrite the word matrix with this encoder's; its positions are its own."""
        embeddings.words.load_state_dict(self.words.state_dict())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode text.

        Args:
            ids: [R, T] int64.
            mask: [R, T] bool, True at real tokens.

        Returns:
            [R, T, D]; rows of padding are computed too and mean nothing.
        """
        return self.trunk(input_ids=ids, attention_mask=mask.long()).last_hidden_state


def create_trunk(settings: str) -> Any:
    """The model that transformers' settings describe, randomly initialised; no code of other places is run.

    Args:
        settings: the content of a `config.json` of transformers.

    Raises:
        UserError: transformers is not installed, or cannot build it.
    """
    transformers = import_extra("transformers", "this model")
    failing = f"transformers {transformers.__version__} cannot build the text encoder"
    with explained(failing, "upgrade transformers, or take another model"):
        config = checked_config(json.loads(settings))
        return checked_trunk(transformers.AutoModel.from_config(config, trust_remote_code=False))


def safe_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `config.json` without what asks for code of elsewhere, such as attention kernels.

    The settings of a part are such settings, too.
    """
    return {
        key: safe_settings(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if not isinstance(key, str) or (key not in _DROPPED and "_implementation" not in key)
    }


def checked_config(values: Mapping[str, Any]) -> Any:
    """The configuration of transformers that the content of a `config.json` describes.

    Raises:
        UserError: it asks for more layers than any model has, which would be built for hours.
        Exception: transformers' own, of any kind.
    """
    config = import_extra("transformers", "this model").AutoConfig.for_model(**safe_settings(values))
    layers = getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers > MAX_DEPTH:
        raise UserError(f"the text encoder's settings ask for {layers} layers; they are damaged")
    return config


def checked_trunk(trunk: Any) -> Any:
    """The model without its pooler, whose weights nothing would train.

    Raises:
        UserError: it is no encoder of text alone.
    """
    config = trunk.config
    if config.is_encoder_decoder or getattr(config, "is_decoder", False):
        raise UserError(
            f"{config.model_type} is no text encoder; take one, such as answerdotai/ModernBERT-base"
        )
    if getattr(trunk, "pooler", None) is not None:
        trunk.pooler = None
    return trunk
