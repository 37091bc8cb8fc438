"""Base classes for transformers: configuration, strict loading, fine-tuned heads; and the whole model."""

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import transformers
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput, can_return_tuple
from transformers.utils.hub import cached_file

from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.config.task import HeadKind, ImageHead, TaskConfig
from xfm.config.typed import from_plain
from xfm.core.errors import UserError
from xfm.models.adapters import ADAPTER
from xfm.models.composition import Composition
from xfm.models.encoders import AnyLanguage
from xfm.models.interop.sources import read_settings
from xfm.models.model_files import LABEL_FIELDS, MODEL_TYPE, PROVENANCE, TASK, TASK_WEIGHTS, as_json
from xfm.models.self_check import SELF_CHECK
from xfm.models.weights import read_tensors, require_same

HEAD = "head."
OF_THE_HUB = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
"""Arguments that say where a repository is read."""
_log = logging.getLogger(__name__)


def find(name: str | Path | None, file: str, place: dict[str, Any]) -> Path | None:
    """A file of a folder or repository, None where missing; `place` are the hub's arguments."""
    if name is None:
        return None
    quiet = ("missing_entries", "connection_errors", "gated_repo")
    path = cached_file(str(name), file, **place, **{f"_raise_exceptions_for_{what}": False for what in quiet})
    return None if path is None else Path(path)


def read_task(name: str | Path | None, place: dict[str, Any]) -> TaskConfig | None:
    """Task of a fine-tuned folder."""
    path = find(name, TASK, place)
    return None if path is None else from_plain(TaskConfig, read_settings(path), path)


def fill_head(
    model: PreTrainedModel, kind: str, report: dict[str, Any], name: str | Path | None, place: dict[str, Any]
) -> None:
    """Fill a head that is missing from a fine-tuned folder; a UserError where none fits and no
    `num_labels` asked for a new one."""
    missing = {key for key in report["missing_keys"] if key.startswith(HEAD)}
    if not missing:
        return
    task = read_task(name, place)
    own = (kind, ImageHead.LINEAR, HeadKind.OWN)
    mine = task is not None and (task.kind, task.image_head, task.head) == own
    weights = find(name, TASK_WEIGHTS, place) if mine else None
    config: Any = model.config
    if task is not None and weights is not None and task.classes == config.num_labels:
        require_same(weights, {key: model.state_dict()[key] for key in missing}, TASK)
        model.load_state_dict(read_tensors(weights), strict=False)
        report["missing_keys"] = type(report["missing_keys"])(set(report["missing_keys"]) - missing)
    elif config.id2label == getattr(config, _READ, None):  # the caller has chosen neither labels nor a number
        was = "not fine-tuned" if task is None else f"fine-tuned for {task.kind}"
        mend = f"fine-tune one with `xfm finetune {kind} --model {name} --train FILE --out OUT`"
        remedy = "use xfm.pipeline" if task is not None and task.kind == kind else mend
        raise UserError(
            f"{name} was {was}, and has no head of {kind} that transformers' class takes; {remedy}, or give "
            "num_labels to train a new one"
        )
    elif task is not None and task.kind != kind and config.id2label == dict(enumerate(task.names)):
        config.id2label = {place: f"LABEL_{place}" for place in range(config.num_labels or 2)}
        config.label2id = {label: place for place, label in config.id2label.items()}
        config.problem_type = None


_READ = "_labels_read"


class XFMConfig(PreTrainedConfig):
    """`ModelConfig` for transformers: the same fields, as plain values, and transformers' own. A UserError
    for unknown fields or values of a part."""

    model_type = MODEL_TYPE

    vision: dict[str, Any] | None = None
    language: dict[str, Any] | None = None
    fusion: dict[str, Any] | None = None
    projection: int = 256
    temperature: float = 0.07
    pixel_head: bool = False
    logit_bias: bool = False
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        for name, value in to_plain(self._read(kwargs.get("name_or_path", ""))).items():
            setattr(self, name, value)
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """transformers' method; another number of labels than stored gives new labels."""
        wanted, stored = kwargs.get("num_labels"), config_dict.get("id2label")
        if wanted is not None and stored is not None and len(stored) != wanted:
            config_dict = {key: value for key, value in config_dict.items() if key not in LABEL_FIELDS}
        answer: Any = super().from_dict(config_dict, **kwargs)
        config = answer[0] if isinstance(answer, tuple) else answer
        if wanted is None and kwargs.get("id2label") is None:
            setattr(config, _READ, dict(config.id2label))
        return answer

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return {key: value for key, value in super().to_dict().items() if key != _READ}

    @property
    def native(self) -> ModelConfig:
        """The `ModelConfig`."""
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


class XFMPreTrainedModel(PreTrainedModel):
    """Base of all classes: parts under the names of a model folder, strict loading, provenance."""

    config: XFMConfig
    language: AnyLanguage
    config_class = XFMConfig
    task_kind: ClassVar[str | None] = None  # whose fine-tuned heads the class can take
    base_model_prefix = "xfm"  # of no attribute: every class holds the parts themselves
    # The losses are means over a batch. Otherwise the Trainer, which sees **kwargs, would take them for sums
    # over all accumulated batches and forget to divide.
    accepts_loss_kwargs = False
    _no_split_modules: ClassVar[Any] = ["LanguageLayer", "VisionBlock", "FusionLayer"]

    def __init__(self, config: XFMConfig) -> None:
        super().__init__(config)
        self.provenance: dict[str, Any] = {}

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, pretrained_model_name_or_path: str | Path | None, *args: Any, **kwargs: Any
    ) -> Self:
        """transformers' method, but every weight except a task's new head must be there; a new head begins
        only with `num_labels` or `id2label`. A UserError for missing weights or an adapter."""
        name, wants_report = pretrained_model_name_or_path, kwargs.pop("output_loading_info", False)
        place = {key: kwargs[key] for key in OF_THE_HUB if kwargs.get(key) is not None}
        if find(name, ADAPTER, place) is not None:
            raise UserError(f"{name} is an adapter; make it a model: xfm export {name} OUT --format merged")
        verbosity = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()  # its report names a head that is filled below
        try:
            loaded: Any = super().from_pretrained(name, *args, output_loading_info=True, **kwargs)
        finally:
            transformers.logging.set_verbosity(verbosity)
        model, report = loaded
        if lacking := sorted(key for key in report["missing_keys"] if not key.startswith(HEAD)):
            of = f"{len(lacking)} tensors of {cls.__name__} (first: {lacking[0]})"
            raise UserError(f"{name} lacks {of}; load it as the class that saved it")
        if cls.task_kind is not None:
            fill_head(model, cls.task_kind, report, name, place)
        if missing := sorted(report["missing_keys"]):
            _log.warning("%s has no %s: newly initialised", name, ", ".join(missing))
        # transformers builds models without memory, and fills weights only
        for part in (getattr(model, part, None) for part in ("vision", "language", "fusion")):
            if part is not None and hasattr(part, "compute_buffers"):
                part.compute_buffers()
        provenance = find(name, PROVENANCE, place)
        model.provenance = {} if provenance is None else read_settings(provenance)
        answer: Any = (model, report) if wants_report else model  # as transformers types it
        return answer

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, save_directory: str | Path, is_main_process: bool = True, **kwargs: Any
    ) -> None:
        """transformers' method; the folder also has the provenance."""
        if is_main_process:
            folder = Path(save_directory)
            folder.mkdir(parents=True, exist_ok=True)
            saved = {"class": type(self).__name__, "transformers": transformers.__version__}
            text = as_json({**self.provenance, "saved": saved, "scores": None})  # it may have learned since
            (folder / SELF_CHECK).unlink(missing_ok=True)  # of another model that lay there
            (folder / PROVENANCE).write_text(text, encoding="utf-8")
        super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        """The word matrix of the language encoder, where the class has one."""
        return self.language.words if hasattr(self, "language") else super().get_input_embeddings()

    def text_mask(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """[R, T] bool of real tokens; without a mask, all but padding."""
        return input_ids.ne(self.language.config.pad) if attention_mask is None else attention_mask.bool()

    def init_weights(self) -> None:
        """Tie weights; the parts initialised themselves."""
        self.tie_weights(recompute_mapping=False)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.LayerNorm):
            module.reset_parameters()

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> NoReturn:
        """A UserError: the vocabulary belongs to two encoders and the tokenizer."""
        raise UserError(
            "the vocabulary of an X-FM model cannot change its size; compose a model with another tokenizer "
            "by `xfm init --language REFERENCE`"
        )


def refuse_unused(given: dict[str, Any]) -> None:
    """A UserError if another model's argument, as wrappers such as peft pass them, has a value."""
    if asked := [name for name, value in given.items() if value is not None and value is not False]:
        raise UserError(f"X-FM's classes for transformers do not take {asked[0]}; leave it out")


@dataclass
class XFMOutput(ModelOutput):
    """Output of `XFMModel`, None where not asked for: logits_per_image [B, R] and its transpose (cosines
    over temperature), text_states [R, T, Dt], image_states [B, 1 + P, Dv], unit vectors text_embeds [R, E]
    and image_embeds [B, E]."""

    logits_per_image: Tensor | None = None
    logits_per_text: Tensor | None = None
    text_states: Tensor | None = None
    image_states: Tensor | None = None
    text_embeds: Tensor | None = None
    image_embeds: Tensor | None = None


class XFMModel(XFMPreTrainedModel, Composition):
    """Three encoders with all pre-training heads; every computing method of `XFM` is here too."""

    main_input_name = "input_ids"

    def __init__(self, config: XFMConfig) -> None:
        super().__init__(config)
        self.build(config.native)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        **unused: Any,
    ) -> XFMOutput:
        """Encode texts (input_ids [R, T]), images (pixel_values [B, 3, H, W]) or both, and compare them.
        For fusion give the states to `fuse`, and its result to `match_logits` or `boxes`."""
        refuse_unused(unused)
        text = image = text_embeds = image_embeds = logits = None
        if input_ids is not None:
            text = self.encode_text(input_ids, self.text_mask(input_ids, attention_mask))
            text_embeds = self.project_text(text[:, 0])
        if pixel_values is not None:
            image = self.encode_image(pixel_values)
            image_embeds = self.project_image(image[:, 0])
        if text_embeds is not None and image_embeds is not None:
            logits = self.pair_logits(image_embeds @ text_embeds.T)
        return XFMOutput(
            logits_per_image=logits,
            logits_per_text=None if logits is None else logits.T,
            text_states=text,
            image_states=image,
            text_embeds=text_embeds,
            image_embeds=image_embeds,
        )

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """[R, T] -> unit vectors [R, E]."""
        return self.embed_text(input_ids, self.text_mask(input_ids, attention_mask))

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """[B, 3, H, W] -> unit vectors [B, E]."""
        return self.embed_image(pixel_values)
