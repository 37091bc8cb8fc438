"""Small models of transformers and timm with random weights, in folders as those libraries write them."""

from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from timm.models._hub import save_for_hf

from tests.evaluation.tiny import tiny_pretrained
from tests.interop.foreign import randomise, unigram_pieces, write_byte_level, write_word_piece
from xfm.config.encoders import FusionConfig
from xfm.config.model import ModelConfig
from xfm.models.xfm import XFM


def text_tokenizer(kind: str, folder: Path) -> Any:
    """Of transformers, for a kind of model; the files of its vocabulary are written to the folder."""
    match kind:
        case "roberta":
            return transformers.RobertaTokenizerFast.from_pretrained(str(write_byte_level(folder)))
        case "xlm-roberta":
            return transformers.XLMRobertaTokenizerFast(vocab=unigram_pieces())
    return transformers.BertTokenizerFast.from_pretrained(str(write_word_piece(folder)))


def write_text_model(
    kind: str, folder: Path, auto: Any = transformers.AutoModel, spread: bool = True, **settings: Any
) -> tuple[Any, Any]:
    """A tokenizer and a model, as transformers saves both.

    Args:
        kind: as transformers has it, such as `bert`.
        folder: to save them in.
        auto: the auto class of the model.
        spread: let every parameter be random, biases and norms, too, or as the library initialises it.
        settings: of the model; `spare` is a number of rows more than the vocabulary needs.
    """
    tokenizer = text_tokenizer(kind, folder.parent / "vocabulary")
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep")}
    ids |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    rows = len(tokenizer) + settings.pop("spare", 0)
    torch.manual_seed(0)
    model = auto.from_config(transformers.AutoConfig.for_model(kind, vocab_size=rows, **ids, **settings))
    if spread:
        randomise(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer, model.eval()


def write_timm(name: str, folder: Path, spread: bool = True, **options: Any) -> Any:
    """A trunk of timm, as `write_text_model` has a text model."""
    torch.manual_seed(0)
    trunk = timm.create_model(name, **{"num_classes": 0, **options})
    if spread:
        randomise(trunk)
    save_for_hf(trunk, folder, safe_serialization=True)
    return trunk.eval()


def with_language(part: Any, projection: int = 16) -> XFM:
    """A tiny model around a text encoder of 48 wide states."""
    vision = tiny_pretrained().model.config.vision
    return XFM(ModelConfig(vision, part.encoder.config, FusionConfig(1, 3, 64), projection)).eval()
