"""`xfm.pipeline`: a model and a task become a callable."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from xfm.config.pipelines import UrlRules
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import task_spec
from xfm.config.training import Precision
from xfm.config.typed import MAX_BATCH, check_range
from xfm.core.errors import UserError, refuse_none
from xfm.inference.base import Pipeline
from xfm.inference.engine import Engine
from xfm.models.folder import Pretrained, load_model
from xfm.models.precision import hold, resolve
from xfm.models.resolve import find_model
from xfm.models.runtimes.loading import RuntimeModel, is_exported, open_exported
from xfm.models.shipped import DEFAULT, boxed_model, model_or_default
from xfm.models.task_models import Answerer, Captioner
from xfm.training.distributed import pick_device


def read_to_run(
    model: Path | str, device: str | torch.device | None = None, precision: Precision | None = None
) -> tuple[Pretrained, Precision]:
    """A model or an exported one, and the arithmetic of torch's passes; a runtime has its own."""
    folder, asked = find_model(model), precision or Precision.FP32
    if not is_exported(folder):
        return load_model(folder), asked
    if device is not None and str(device) not in ("auto", "cpu"):
        raise UserError(f"{model} is an exported model, which runs on the CPU; leave --device out")
    return open_exported(folder, resolve(asked, "cpu") is Precision.BF16), Precision.FP32


def pipeline(
    task: str,
    model: Pretrained | Path | str | None = None,
    *,
    device: str | torch.device | None = None,
    precision: str | None = None,
    batch_size: int = 32,
    allow_urls: bool | Sequence[str] | UrlRules = False,
    readers: int | None = None,
) -> Pipeline:
    """A pipeline: call it with an input, a list of inputs, or any other iterable of them.

    Args:
        task: such as `vqa` or `embed`; `xfm predict --help` lists all, see `xfm.TaskSpec`.
        model: a model folder, a run, a repository of the hub (`owner/name`), an exported model's folder, or a
            loaded model, which is put into evaluation mode. If not given, the package's small model answers,
            with a warning.
        device: by default a loaded model's own, else the GPU if there is one.
        precision: fp32, in which an answer does not depend on the rest of its batch (within 1e-5); bf16; or
            auto, bf16 where it is faster. By default fp32.
        batch_size: rows per pass.
        allow_urls: whether pictures may be addresses (public http and https, bounded in size and time), their
            hosts (`["*.example.org"]`), or the rules for them.
        readers: threads that read pictures ahead; by default four with a GPU, else none.

    Returns:
        The pipeline; its `spec` and its class document inputs and answers.

    Raises:
        UserError: no such task or model, or a model without the fine-tuning that the task needs.

    Example:
        >>> ask = pipeline("vqa", model="runs/vqa/model")
        >>> ask(image="photo.jpg", question="how many dogs are there?")
        [{"score": 0.93, "answer": "two"}, ...]
    """
    refuse_none(task=task)
    spec = task_spec(task)
    if precision is not None and precision not in [*Precision]:
        raise UserError(f"precision is {precision!r}; choose one of {', '.join(Precision)}")
    asked = None if precision is None else Precision(precision)
    try:
        check_range("batch_size", batch_size, 1, MAX_BATCH)
        check_range("readers", readers or 0, 0, 256)
    except ValueError as error:
        raise UserError(str(error)) from error
    if model is None:
        model = _boxed(spec)
    if isinstance(model, Pretrained):
        loaded, name, arithmetic = model, "the model", asked or Precision.FP32
    else:
        (loaded, arithmetic), name = read_to_run(model, device, asked), str(model)
    runs_on_cpu = isinstance(loaded.model, RuntimeModel)  # by a runtime, wherever torch would run
    if device is None:
        device = loaded.model.device if isinstance(model, Pretrained) else "auto"
    where = torch.device("cpu") if runs_on_cpu else pick_device(str(device))
    decodes = bool(spec.head) and issubclass(spec.head_class(), Answerer | Captioner)
    if decodes and runs_on_cpu:
        raise UserError(f"{spec.name} answers by a decoder, which {name} has not: take the model folder")
    _check_fit(spec, loaded, name)
    urls = UrlRules.of(allow_urls)
    for part in (loaded.model, loaded.task):
        if part is not None:
            part.eval().to(where)
    threads = (4 if where.type == "cuda" else 0) if readers is None else readers
    engine = Engine(loaded, name, where, arithmetic, batch_size, urls, threads)
    if not isinstance(model, Pretrained):  # one in memory may have been changed since, and may be trained yet
        hold(loaded.encoders, arithmetic, where)
        engine.check()
    return spec.pipeline_class()(engine, spec)


def _boxed(spec: TaskSpec) -> str:
    if not spec.uses:
        raise UserError(
            f"{spec.name} needs a model that was fine-tuned for it, and none was given (model=); make one "
            f"with `xfm finetune {spec.name} --model {DEFAULT} --train FILE --out OUT`"
        )
    return str(boxed_model(model_or_default(None, level=4)))


def _check_fit(spec: TaskSpec, loaded: Pretrained, name: str) -> None:
    own = None if loaded.task is None else loaded.task.task.spec
    if not spec.uses and own != spec:
        has = f"for {own.name}" if own else "for nothing yet"
        raise UserError(
            f"{spec.name} needs a model that was fine-tuned for {spec.name}, and {name} was fine-tuned {has};"
            f" make one with `xfm finetune {spec.name} --model MODEL --train FILE --out OUT`"
        )
    if spec.uses and own is not None and not spec.pipeline_class().suits(spec, own):
        warnings.warn(
            f"{name} was fine-tuned for {own.name}, which may have changed the parts that {spec.name} uses; "
            "the model that it was fine-tuned from fits better",
            stacklevel=3,
        )
    for part in spec.uses:
        if loaded.is_untrained(part) and part not in spec.pipeline_class().may_lack:
            raise UserError(
                f"{spec.name} uses the part {part.removesuffix('.')}, which {name} has only as it was "
                "initialised; pre-train the model, or take one that was"
            )
