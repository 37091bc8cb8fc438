"""A model as a folder: weights (safetensors), configuration, tokenizer, preprocessing, provenance."""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from xfm.config.model import FusionConfig, LanguageConfig, ModelConfig, Positions, VisionConfig
from xfm.data.tokenizer import Tokenizer
from xfm.errors import UserError
from xfm.modeling.xfm import XFM

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
PREPROCESSING, PROVENANCE = "preprocessing.json", "provenance.json"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become pixels: squashed to a square, scaled to [0, 1], normalised.

    Attributes:
        image_size: side of the square in pixels.
        mean, std: per channel, of values in [0, 1].
        interpolation: of the resizing.
    """

    image_size: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    interpolation: str = "bicubic"


@dataclass(frozen=True)
class Pretrained:
    """A loaded model folder."""

    model: XFM
    tokenizer: Tokenizer
    preprocessing: Preprocessing
    provenance: dict[str, Any]


def model_config_from_dict(values: dict[str, Any]) -> ModelConfig:
    """The configuration of a `config.json`."""
    vision = dict(values["vision"])
    vision["positions"] = Positions(vision["positions"])
    return ModelConfig(
        vision=VisionConfig(**vision),
        language=LanguageConfig(**values["language"]),
        fusion=FusionConfig(**values["fusion"]),
        **{name: value for name, value in values.items() if name not in {"vision", "language", "fusion"}},
    )


def save_model(
    folder: Path, model: XFM, tokenizer: Tokenizer, preprocessing: Preprocessing, provenance: dict[str, Any]
) -> None:
    """Write a model folder, replacing one that exists; the old one stays whole until the new one is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        weights = {name: tensor.detach().contiguous().cpu() for name, tensor in model.state_dict().items()}
        save_file(weights, part / WEIGHTS, metadata={"format": "pt"})
        _write_json(part / CONFIG, asdict(model.config))
        tokenizer.save(part / TOKENIZER)
        _write_json(part / PREPROCESSING, asdict(preprocessing))
        _write_json(part / PROVENANCE, provenance)
        part.chmod(0o755)
        if folder.exists():
            old = part.with_name(part.name + "-old")
            os.replace(folder, old)
            os.replace(part, folder)
            shutil.rmtree(old)
        else:
            os.replace(part, folder)
    except OSError as error:
        raise UserError(
            f"{folder}: the model could not be saved ({error.strerror}); free some space and retry"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load_model(folder: Path) -> Pretrained:
    """Read a model folder.

    Raises:
        UserError: a file is missing, truncated or of another model.
    """
    try:
        config = model_config_from_dict(_read_json(folder / CONFIG))
        preprocessing = Preprocessing(**_read_json(folder / PREPROCESSING))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}: the model's configuration is not one of this version ({error})"
        ) from error
    model = XFM(config)
    try:
        missing, unexpected = model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder / WEIGHTS} is missing; point to a folder that holds a saved model"
        ) from error
    except SafetensorError as error:
        raise UserError(
            f"{folder / WEIGHTS} is truncated or not a safetensors file; copy it again"
        ) from error
    except RuntimeError as error:
        raise UserError(
            f"{folder / WEIGHTS} holds tensors of another shape than {CONFIG} says: {error}"
        ) from error
    if missing or unexpected:
        raise UserError(
            f"{folder / WEIGHTS} does not fit {CONFIG}: {len(missing)} tensors are missing and "
            f"{len(unexpected)} are unknown (first: {[*missing, *unexpected][0]}); use the files of one save"
        )
    return Pretrained(
        model.eval(), Tokenizer.load(folder / TOKENIZER), preprocessing, _read_json(folder / PROVENANCE)
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; point to a folder that holds a saved model") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); copy it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object; copy it again")
    return value
