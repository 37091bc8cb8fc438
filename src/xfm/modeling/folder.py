"""A model as a folder: weights (safetensors), configuration, tokenizer, preprocessing, provenance.

A fine-tuned model's folder also has `task.json`, what it is for, and `task.safetensors`, what the task adds.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.config.task import TaskConfig
from xfm.data.tokenizer import Tokenizer
from xfm.errors import UserError
from xfm.files import replace_folder, sync_folder
from xfm.modeling.task_models import TaskModel, build_task_model
from xfm.modeling.weights import assign_tensors, read_tensors, without_weights
from xfm.modeling.xfm import XFM

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
PREPROCESSING, PROVENANCE = "preprocessing.json", "provenance.json"
TASK, TASK_WEIGHTS = "task.json", "task.safetensors"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

T = TypeVar("T")


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
    """A loaded model folder.

    Attributes:
        model: in evaluation mode.
        given_tokenizer: the model's tokenizer, None if it was saved without one.
        preprocessing: how pictures become pixels.
        provenance: where the model comes from.
        task: what the model was fine-tuned for, sharing the parts of `model`; None before fine-tuning.
    """

    model: XFM
    given_tokenizer: Tokenizer | None
    preprocessing: Preprocessing
    provenance: dict[str, Any]
    task: TaskModel | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises:
            UserError: the model has none.
        """
        if self.given_tokenizer is None:
            raise UserError(
                "the model has no tokenizer, and texts need one; convert or load it again with --tokenizer "
                "(in Python, tokenizer=), for published weights RoBERTa's"
            )
        return self.given_tokenizer


def save_model(
    folder: Path | str,
    model: XFM,
    tokenizer: Tokenizer | None,
    preprocessing: Preprocessing,
    provenance: dict[str, Any],
    task: TaskModel | None = None,
) -> None:
    """Write a model folder, replacing one that exists; the old one stays whole until the new one is.

    Args:
        folder: the model folder; a folder of something else is never replaced.
        model, tokenizer, preprocessing: what belongs together; without a tokenizer, texts cannot be encoded.
        provenance: where the model comes from, as JSON can hold it; anything else is written as text.
        task: what the model was fine-tuned for; its parts take the place of the model's.

    Raises:
        UserError: the disk is full, the place is not writable, or something else lies there. What was there
            before is unharmed.
    """
    folder = Path(folder)
    target = folder.resolve()  # through a link, so that the link stays
    _refuse_foreign(folder)
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        _write_tensors(part / WEIGHTS, model.state_dict() | (task.shared_state() if task else {}))
        _write_json(part / CONFIG, to_plain(model.config))
        if task is not None:
            _write_tensors(part / TASK_WEIGHTS, task.added_state())
            _write_json(part / TASK, to_plain(task.task))
        if tokenizer is not None:
            tokenizer.save(part / TOKENIZER)
        _write_json(part / PREPROCESSING, to_plain(preprocessing))
        # A tokenizer that was never there is told from one that was lost.
        _write_json(part / PROVENANCE, provenance | ({} if tokenizer else {"tokenizer": None}))
        part.chmod(0o755)
        sync_folder(part)
        replace_folder(part, target)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{folder}: the model could not be saved ({reason}); make room there or name another folder, "
            "what was there before is unharmed"
        ) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def load_model(folder: Path | str) -> Pretrained:
    """Read a model folder.

    Args:
        folder: a folder written by `save_model`.

    Returns:
        The model in evaluation mode on the CPU, and what belongs to it.

    Raises:
        UserError: a file is missing, truncated or of another model.
    """
    folder = Path(folder)
    if folder.is_file():
        raise UserError(
            f"{folder} is a file, not a model folder; a published checkpoint is read by `xfm convert`, or in "
            "Python by xfm.load"
        )
    config = from_plain(ModelConfig, _read_json(folder / CONFIG), folder / CONFIG)
    preprocessing = from_plain(Preprocessing, _read_json(folder / PREPROCESSING), folder / PREPROCESSING)
    if preprocessing.image_size != config.vision.image_size:
        raise UserError(
            f"{folder / PREPROCESSING}: image_size is {preprocessing.image_size}, but {CONFIG} says "
            f"{config.vision.image_size}; use the files of one save"
        )
    provenance = _read_json(folder / PROVENANCE)
    absent = provenance.get("tokenizer", "") is None and not (folder / TOKENIZER).exists()
    tokenizer = None if absent else Tokenizer.load(folder / TOKENIZER)
    check_vocabulary(tokenizer, config, folder / TOKENIZER)
    with without_weights():
        model = XFM(config)
        task = _read_task(folder, model)
    assign_tensors(model, _fitting(folder / WEIGHTS, model.state_dict(), CONFIG))
    if task is not None:
        added = _fitting(folder / TASK_WEIGHTS, task.added_state(), TASK)
        assign_tensors(task, {**task.state_dict(), **added})
        task.eval()
    return Pretrained(model.eval(), tokenizer, preprocessing, provenance, task)


def check_vocabulary(tokenizer: Tokenizer | None, config: ModelConfig, path: Path) -> None:
    """Refuse a tokenizer that knows more tokens than the model.

    Raises:
        UserError: names the tokenizer's file.
    """
    if tokenizer is not None and tokenizer.vocab_size > config.language.vocab_size:
        raise UserError(
            f"{path} has {tokenizer.vocab_size} tokens, but the model has "
            f"{config.language.vocab_size}; use the tokenizer that the model was trained with"
        )


def _read_task(folder: Path, model: XFM) -> TaskModel | None:
    """The task model that the folder describes, with shapes only."""
    if not (folder / TASK).exists():
        return None
    return build_task_model(from_plain(TaskConfig, _read_json(folder / TASK), folder / TASK), model)


def from_plain(kind: type[T], values: Any, path: Path, name: str = "") -> T:
    """What `to_plain` made a plain value of: the inverse for the types of a model folder.

    A field that is not there takes its default, so that folders of older versions stay readable.

    Args:
        kind: a dataclass, an enum, `tuple[float, ...]` of some length, int, float or str.
        values: the plain value.
        path: the file it was read from.
        name: dotted name of the value in the file.

    Raises:
        UserError: an unknown field, or a value of another type or out of range.
    """
    if is_dataclass(kind):
        if not isinstance(values, dict):
            raise UserError(f"{path}: {name or 'the file'} must be an object; copy the file again")
        types = get_type_hints(kind)
        known = {f.name: types[f.name] for f in fields(kind)}
        prefix = f"{name}." if name else ""
        if unknown := sorted(values.keys() - known.keys()):
            raise UserError(
                f"{path}: unknown field {prefix}{unknown[0]}; the model is of another version of xfm, "
                "upgrade or save it again"
            )
        arguments = {key: from_plain(known[key], value, path, prefix + key) for key, value in values.items()}
        try:
            return kind(**arguments)
        except (ValueError, ArithmeticError) as error:
            raise UserError(f"{path} does not describe a model ({error}); copy the file again") from error
    converted = _scalar(kind, values)
    if converted is None:
        raise UserError(f"{path}: {name} cannot be {values!r}; copy the file again")
    return converted


def _scalar(kind: Any, value: Any) -> Any:
    """The value as `kind`, None if it is none."""
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if not isinstance(value, list) or len(value) != len(parts):
            return None
        items = tuple(_scalar(part, item) for part, item in zip(parts, value, strict=True))
        return None if None in items else items
    if issubclass(kind, Enum):
        return next((member for member in kind if member.value == value), None)
    if kind is float and type(value) is int:
        return float(value)
    return value if type(value) is kind else None


def _fitting(path: Path, own: dict[str, Tensor], described: str) -> dict[str, Tensor]:
    """A file's tensors; names and shapes must be those of `own`, which the file `described` gave."""
    stored = read_tensors(path)
    if differing := sorted(stored.keys() ^ own.keys()):
        missing = sum(name in own for name in differing)
        raise UserError(
            f"{path} does not fit {described}: {missing} tensors are missing and {len(differing) - missing} "
            f"are unknown (first: {differing[0]}); use the files of one save"
        )
    for name, tensor in own.items():
        if tensor.shape != stored[name].shape:
            raise UserError(
                f"{path}: {name} has shape {list(stored[name].shape)}, but {described} says "
                f"{list(tensor.shape)}; use the files of one save"
            )
    return {name: tensor.to(own[name].dtype) for name, tensor in stored.items()}


def _write_tensors(path: Path, state: dict[str, Tensor]) -> None:
    save_file({n: t.detach().contiguous().cpu() for n, t in state.items()}, path, metadata={"format": "pt"})


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
