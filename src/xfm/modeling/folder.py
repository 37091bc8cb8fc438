"""A model as a folder: weights (safetensors), configuration, tokenizer, preprocessing, provenance."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.config.restore import from_plain
from xfm.data.tokenizer import Tokenizer
from xfm.data.transforms import CLIP_MEAN, CLIP_STD
from xfm.errors import UserError
from xfm.files import drafting, replace_folder, sync_folder
from xfm.modeling.shared_format import CLASSES, INPUT_CLASSES, own_fields, plain_config
from xfm.modeling.xfm import XFM

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
PREPROCESSING, PROVENANCE = "preprocessing.json", "provenance.json"
FRESH = "fresh"  # in the provenance: beginnings of the names of parameters that were never trained


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become pixels: squashed to a square, scaled to [0, 1], normalised.

    Attributes:
        image_size: side of the square in pixels.
        mean, std: per channel, of values in [0, 1].
        interpolation: of the resizing.
        image_width: width of pictures that are not square; image_size is then their height.
    """

    image_size: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    interpolation: str = "bicubic"
    image_width: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image_size, self.image_width or self.image_size


@dataclass(frozen=True)
class Belongings:
    """What a model cannot be used without, and where it comes from.

    Attributes:
        tokenizer: its vocabulary.
        preprocessing: how pictures become pixels.
        provenance: where the model comes from.
    """

    tokenizer: Tokenizer
    preprocessing: Preprocessing
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Pretrained:
    """A loaded model folder."""

    model: XFM
    tokenizer: Tokenizer
    preprocessing: Preprocessing
    provenance: dict[str, Any]

    @property
    def belongings(self) -> Belongings:
        """All but the model."""
        return Belongings(self.tokenizer, self.preprocessing, self.provenance)


def save_model(
    folder: Path | str,
    model: XFM,
    tokenizer: Tokenizer,
    preprocessing: Preprocessing,
    provenance: dict[str, Any],
) -> None:
    """Write a model folder, replacing one that exists; the old one stays whole until the new one is.

    Args:
        folder: the model folder; a folder of something else is never replaced.
        model, tokenizer, preprocessing: what belongs together.
        provenance: where the model comes from, as JSON can hold it; anything else is written as text.

    Raises:
        UserError: the disk is full, the place is not writable, or something else lies there. What was there
            before is unharmed.
    """
    folder = Path(folder)
    target = folder.resolve()  # through a link, so that the link stays
    _refuse_foreign(folder)
    weights = {name: tensor.detach().contiguous().cpu() for name, tensor in model.state_dict().items()}
    try:
        with drafting(target) as part:
            save_file(weights, part / WEIGHTS, metadata={"format": "pt"})
            write_description(part, model.config, Belongings(tokenizer, preprocessing, provenance))
            sync_folder(part)
            replace_folder(part, target)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{folder}: the model could not be saved ({reason}); make room there or name another folder, "
            "what was there before is unharmed"
        ) from error


def write_description(folder: Path, config: ModelConfig, belongings: Belongings) -> None:
    """Write every file of a model folder but the weights."""
    _write_json(folder / CONFIG, plain_config(config))
    belongings.tokenizer.save(folder / TOKENIZER)
    _write_json(folder / PREPROCESSING, to_plain(belongings.preprocessing))
    _write_json(folder / PROVENANCE, belongings.provenance)
    _write_json(folder / INPUT_CLASSES, CLASSES)


def load_model(
    folder: Path | str, image_size: int | None = None, image_width: int | None = None
) -> Pretrained:
    """Read a model folder.

    Args:
        folder: a folder written by `save_model`.
        image_size: side in pixels of the pictures that the model is to take, if not the stored one; the
            tables of relative positions, or the positions, are resampled, and the preprocessing follows.
        image_width: width of pictures that are not to be square; image_size is then their height.

    Returns:
        The model in evaluation mode on the CPU, and what belongs to it.

    Raises:
        UserError: a file is missing, truncated or of another model.
    """
    folder = Path(folder)
    config, preprocessing = read_config(folder)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    for found, wanted, what in (
        (tokenizer.vocab_size <= config.language.vocab_size, config.language.vocab_size, "tokens"),
        (tokenizer.pad == config.language.pad, config.language.pad, "as the padding token"),
    ):
        if not found:
            raise UserError(
                f"{folder / TOKENIZER} has {tokenizer.vocab_size} tokens and pads with {tokenizer.pad}, but "
                f"{CONFIG} says {wanted} {what}; use the files of one save"
            )
    model = _load_weights(folder / WEIGHTS, config)
    if image_size is not None:
        _, preprocessing = read_config(folder, image_size, image_width)
        model.resize(image_size, image_width)
    return Pretrained(model.eval(), tokenizer, preprocessing, read_provenance(folder))


def read_config(
    folder: Path | str, image_size: int | None = None, image_width: int | None = None
) -> tuple[ModelConfig, Preprocessing]:
    """Configuration and preprocessing of a model folder, for pictures of another size if one is given.

    Raises:
        UserError: a file is missing or of another model, or the model cannot take pictures of that size.
    """
    folder = Path(folder)
    values = own_fields(_read_json(folder / CONFIG), folder / CONFIG)
    config = from_plain(ModelConfig, values, folder / CONFIG)
    preprocessing = from_plain(Preprocessing, _read_json(folder / PREPROCESSING), folder / PREPROCESSING)
    for name in ("image_size", "image_width"):
        ours, theirs = getattr(preprocessing, name), getattr(config.vision, name)
        if ours != theirs:
            raise UserError(
                f"{folder / PREPROCESSING}: {name} is {ours}, but {CONFIG} says {theirs}; "
                "use the files of one save"
            )
    if image_size is None:
        return config, preprocessing
    try:
        vision = replace(config.vision, image_size=image_size, image_width=image_width)
    except ValueError as error:
        raise UserError(f"{folder} cannot take pictures of {image_size} pixels: {error}") from error
    size = {"image_size": image_size, "image_width": image_width}
    return replace(config, vision=vision), replace(preprocessing, **size)


def read_provenance(folder: Path | str) -> dict[str, Any]:
    """Where a model comes from, as `save_model` was told.

    Raises:
        UserError: the file is missing or damaged.
    """
    return _read_json(Path(folder) / PROVENANCE)


def _load_weights(path: Path, config: ModelConfig) -> XFM:
    """The model of a configuration with a file's tensors, whose names and shapes must be the model's.

    They are compared before memory is taken: a configuration may claim any size, a file has what it has.
    """
    with torch.device("meta"):
        own = XFM(config).state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        _compare(path, shapes, {name: list(tensor.shape) for name, tensor in own.items()})
        model = XFM(config)
        model.load_state_dict(load_file(path))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; point to a folder that holds a saved model") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is truncated or not a safetensors file ({error}); copy it again") from error
    return model


def _compare(path: Path, stored: dict[str, list[int]], own: dict[str, list[int]]) -> None:
    """Refuse a file whose names and shapes are not the model's."""
    if differing := sorted(stored.keys() ^ own.keys()):
        missing = sum(name in own for name in differing)
        raise UserError(
            f"{path} does not fit {CONFIG}: {missing} tensors are missing and {len(differing) - missing} "
            f"are unknown (first: {differing[0]}); use the files of one save"
        )
    for name, shape in own.items():
        if shape != stored[name]:
            raise UserError(
                f"{path}: {name} has shape {stored[name]}, but {CONFIG} says {shape}; "
                "use the files of one save"
            )


def _refuse_foreign(folder: Path) -> None:
    """Only a model folder or an empty one may be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder; name another folder for the model")
    if any(folder.iterdir()) and not (folder / CONFIG).exists():
        raise UserError(f"{folder} holds something else than a model; name another folder for it")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; point to a folder that holds a saved model") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); copy it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object; copy it again")
    return value
