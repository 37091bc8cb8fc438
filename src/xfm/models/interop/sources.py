"""Weights and settings of other models: a folder, a file or the Hugging Face hub; nothing is executed."""

import argparse
import re
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
    """The folder or file of a reference; a name of the hub is downloaded (once, into the hub's cache).

    Args:
        reference: a path that exists, or the name of a repository, such as `FacebookAI/roberta-base`.
        patterns: what is needed of the repository beside the weights.

    Raises:
        UserError: there is no such path, and the hub has no such repository or cannot be reached.
    """
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
    """The file with the weights of a folder; a file is that itself.

    Raises:
        UserError: the folder has none.
    """
    if path.is_file():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path} holds no {' or '.join(WEIGHT_FILES)}; point to a folder that does")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or PyTorch file, on the CPU; floating ones as float32.

    A pickled file is read without running any code of it. Weights that lie inside it under `model`, `module`
    or `state_dict` are found there.

    Raises:
        UserError: the file is damaged, or would have to run code.
    """
    stored: Any = read_stored(path, [argparse.Namespace])  # the options of a training run
    for name in _NESTED:
        if isinstance(stored, Mapping) and isinstance(stored.get(name), Mapping):
            stored = stored[name]
    tensors = named_tensors(path, stored) if isinstance(stored, Mapping) else {}
    if not tensors:
        raise UserError(f"{path} holds no tensors by name; give a file of weights")
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def renamed(
    stored: Mapping[str, Tensor], rules: Sequence[tuple[str, str]], bare: Callable[[str], str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors under other names.

    Args:
        stored: the tensors.
        rules: patterns of whole names, and what takes their place; the first that fits counts.
        bare: a name without what the rules do not know.

    Returns:
        The tensors by their new names, and the stored names that no rule fits.
    """
    found: dict[str, Tensor] = {}
    ignored: list[str] = []
    for name, tensor in stored.items():
        fits = (m.expand(to) for pattern, to in rules if (m := re.fullmatch(pattern, bare(name))))
        if (new := next(fits, None)) is None:
            ignored.append(name)
        else:
            found[new] = tensor
    return found, tuple(ignored)


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON file of settings, empty where there is none.

    Raises:
        UserError: it is no JSON object.
    """
    return read_json_object(path) if path.is_file() else {}


def read_licence(folder: Path) -> str | None:
    """The licence that the model card of a folder names, if there is one."""
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
    """A module with tensors, each by its name.

    They are compared before memory is taken: settings may claim any size, a file has what it has.

    Args:
        build: makes the module.
        state: a tensor for every parameter, and no others.
        file: where they come from.
        optional: names that may be absent; the module keeps what it has there.

    Raises:
        UserError: a tensor is missing, of another shape, not of floating point where it should be, or not
            of finite numbers.
    """
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
    """A vision encoder with weights.

    Attributes:
        encoder: the encoder, in evaluation mode.
        preprocessing: how pictures become its pixels.
        fresh: names of its parameters that the source does not have.
        source: where it comes from, for the provenance.
        ignored: names of the source that it has no place for.
    """

    encoder: AnyVision
    preprocessing: Preprocessing
    source: dict[str, Any]
    fresh: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def config(self) -> AnyVisionConfig:
        """Its configuration."""
        return self.encoder.config


@dataclass(frozen=True)
class LanguagePart:
    """A language encoder with weights.

    Attributes:
        encoder: the encoder, in evaluation mode.
        tokenizer: its vocabulary.
        head: tensors of the MLM head by the names in `TokenHead`, empty where the source has none.
        source: where it comes from, for the provenance.
        ignored: names of the source that it has no place for.
    """

    encoder: AnyLanguage
    tokenizer: Tokenizer
    source: dict[str, Any]
    head: dict[str, Tensor] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def config(self) -> AnyLanguageConfig:
        """Its configuration."""
        return self.encoder.config


def preprocessing(
    source: Path | str | None, image_size: int, mean: Any, std: Any, image_width: int | None = None
) -> Preprocessing:
    """How pictures become pixels, by the numbers of another model's settings.

    Args:
        source: where they stand.
        image_size, image_width: see `Preprocessing`.
        mean, std: three numbers each, as the settings have them.

    Raises:
        UserError: they are something else.
    """
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
    """The tokenizer of a model's folder, or of a `tokenizer.json`.

    In a folder `tokenizer.json` is taken where there is one; else `vocab.json` with `merges.txt` (RoBERTa) or
    `vocab.txt` (BERT) make the same tokenizer.

    Raises:
        UserError: none of them is there, or they are damaged.
    """
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
