"""Weights and settings of other models: a folder, a file or the Hugging Face hub; nothing is executed."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from xfm.config.encoders import AnyLanguageConfig, AnyVisionConfig
from xfm.config.plain import yaml_value
from xfm.core.errors import UserError
from xfm.core.files import read_json_object, read_text
from xfm.data.tokenizer import Tokenizer
from xfm.models.encoders import AnyLanguage, AnyVision
from xfm.models.folder import Preprocessing
from xfm.models.interop.pickles import named_tensors, read_stored
from xfm.models.library_encoders import explained
from xfm.models.weights import require_finite

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
SETTING_FILES = ("*.json", "README.md")
TOKENIZER_FILES = ("*.txt", "*.json")
Module = TypeVar("Module", bound=nn.Module)
_NESTED = ("model", "module", "state_dict")


def fetch_repository(reference: str, patterns: Sequence[str]) -> Path:
    """Folder or file of a reference: a path, or a repository of the hub, downloaded once (weights and
    `patterns`); a UserError where there is neither."""
    if Path(reference).exists():
        return Path(reference)
    from huggingface_hub import snapshot_download

    safe, pickled = WEIGHT_FILES
    failing = f"{reference} is neither a path here nor can it be read from the hub"
    remedy = "check the name, or give the folder of a downloaded copy"
    with explained(failing, remedy, OSError, ValueError):  # the hub's errors are of these kinds
        folder = Path(snapshot_download(reference, allow_patterns=[safe, *patterns]))
        if not (folder / safe).exists():
            folder = Path(snapshot_download(reference, allow_patterns=[pickled, *patterns]))
        return folder


def weights_file(path: Path) -> Path:
    """File of weights in a folder, or the file itself; a UserError where there is none."""
    if path.is_file():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path} holds no {' or '.join(WEIGHT_FILES)}; point to a folder that does")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors or pickled file, also below `model`, `module` or `state_dict`, on the CPU,
    floats as float32; nothing is executed. A UserError where damaged."""
    stored: Any = read_stored(path, [argparse.Namespace])  # the options of a training run
    for name in _NESTED:
        if isinstance(stored, Mapping) and isinstance(stored.get(name), Mapping):
            stored = stored[name]
    tensors = named_tensors(path, stored) if isinstance(stored, Mapping) else {}
    if not tensors:
        raise UserError(f"{path} holds no tensors by name; give a file of weights")
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON object of settings, empty where the file is missing."""
    return read_json_object(path) if path.is_file() else {}


def read_licence(folder: Path) -> str | None:
    """Licence in the header of a folder's model card, if any."""
    card = folder / "README.md"
    text = read_text(card, errors="replace") if card.is_file() else ""
    if not text.startswith("---"):
        return None
    try:
        header = yaml_value(text.split("---", 2)[1])
    except (IndexError, ValueError):
        return None
    if not isinstance(header, dict):
        return None
    found = header.get("license")
    # Of a licence without a name of its own, the card says it elsewhere.
    found = header.get("license_name", found) if found == "other" else found
    names = found if isinstance(found, list) else [found]
    # Other values could be one list many times over, of any size as text.
    return ", ".join(name for name in names if isinstance(name, str)) or None


def filled(
    build: Callable[[], Module],
    state: Mapping[str, Tensor],
    file: Path,
    optional: frozenset[str] = frozenset(),
) -> Module:
    """A module with the tensors of `state`, checked against a meta build before memory is taken; names in
    `optional` may be absent. A UserError for missing, misshapen or non-finite tensors."""
    with torch.device("meta"):
        wanted = build().state_dict()
    for name, own in wanted.items():
        if name not in state and name not in optional:
            raise UserError(f"{file} lacks the weights of {name}; give the file of a whole encoder")
        if name in state and state[name].shape != own.shape:
            raise UserError(
                f"{file}: the weights of {name} have shape {list(state[name].shape)}, expected "
                f"{list(own.shape)}; the file is not of the architecture that it or its settings claim"
            )
        if name in state and own.is_floating_point() != state[name].is_floating_point():
            raise UserError(
                f"{file}: the weights of {name} are of type {state[name].dtype}; save them as float32"
            )
    require_finite(file, state)
    module = build()
    module.load_state_dict(dict(state), strict=not optional)
    return module


@dataclass(frozen=True)
class VisionPart:
    """Vision encoder in evaluation mode; `fresh` are its parameters without source, `ignored` names of the
    source without place, `source` is for the provenance."""

    encoder: AnyVision
    preprocessing: Preprocessing
    source: dict[str, Any]
    fresh: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def config(self) -> AnyVisionConfig:
        """Configuration of the encoder."""
        return self.encoder.config


@dataclass(frozen=True)
class LanguagePart:
    """Language encoder in evaluation mode, with tokenizer and the MLM head's tensors by the names of
    `TokenHead` (empty: none); otherwise as `VisionPart`."""

    encoder: AnyLanguage
    tokenizer: Tokenizer
    source: dict[str, Any]
    head: dict[str, Tensor] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def config(self) -> AnyLanguageConfig:
        """Configuration of the encoder."""
        return self.encoder.config


def preprocessing(
    source: Path | str | None, image_size: int, mean: Any, std: Any, image_width: int | None = None
) -> Preprocessing:
    """Preprocessing with mean and deviation from another model's settings; a UserError unless they are
    three numbers each."""
    try:
        red, green, blue = (float(number) for number in mean)
        deviation = tuple(float(number) for number in std)
        return Preprocessing(image_size, (red, green, blue), deviation, image_width=image_width)  # pyright: ignore[reportArgumentType]
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(
            f"{source}: mean and deviation of the pixels must be three numbers each ({error}); copy it again"
        ) from error


_SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")


def read_tokenizer(folder: Path) -> Tokenizer:
    """Tokenizer of a `tokenizer.json`, or of a folder: that file, `vocab.json` with `merges.txt` (RoBERTa)
    or `vocab.txt` (BERT). A UserError where none is readable."""
    if not folder.is_dir():
        return Tokenizer.load(folder)
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.load(folder / "tokenizer.json")
    with explained(f"{folder}: the vocabulary cannot be read", "copy it again"):
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return Tokenizer(_byte_level_bpe(folder), str(folder / "vocab.json"))
        if (folder / "vocab.txt").is_file():
            return Tokenizer(_word_piece(folder), str(folder / "vocab.txt"))
    hint = "give a folder that has one"
    if any((folder / name).is_file() for name in _SENTENCEPIECE):
        hint = "write one with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    raise UserError(f"{folder} has no tokenizer.json; {hint}")


def _byte_level_bpe(folder: Path) -> tokenizers.Tokenizer:
    prefix = bool(read_settings(folder / "tokenizer_config.json").get("add_prefix_space", False))
    backend = tokenizers.Tokenizer(
        models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    # It swallows the space in front: in "a <mask> dog" it stands where " red" would.
    backend.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
    last, first = _placed(backend, "</s>"), _placed(backend, "<s>")
    backend.post_processor = processors.RobertaProcessing(
        last, first, trim_offsets=True, add_prefix_space=prefix
    )
    return backend


def _word_piece(folder: Path) -> tokenizers.Tokenizer:
    settings = read_settings(folder / "tokenizer_config.json")
    backend = tokenizers.Tokenizer(models.WordPiece.from_file(str(folder / "vocab.txt"), unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.add_special_tokens(["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"])
    backend.post_processor = processors.BertProcessing(_placed(backend, "[SEP]"), _placed(backend, "[CLS]"))
    return backend


def _placed(backend: tokenizers.Tokenizer, token: str) -> tuple[str, int]:
    index = backend.token_to_id(token)
    assert index is not None
    return token, index
