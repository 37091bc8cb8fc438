"""Benchmark of runtimes, in turn in one process, and the fastest on this machine."""

import copy
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from xfm.config.artifacts import Arithmetic, Format
from xfm.config.training import Precision
from xfm.core.errors import UserError
from xfm.models.folder import Pretrained, load_model, require_seeing
from xfm.models.precision import autocast, bf16_is_fast, hold
from xfm.models.runtimes.backend_choice import WAYS, ChosenWay, Figure, Way, kept_for, machine
from xfm.models.runtimes.loading import open_exported, read_manifest
from xfm.models.runtimes.writing import export
from xfm.models.self_check import verify_here
from xfm.models.task_models import Answerer, Captioner
from xfm.models.xfm import XFM

WORK, BATCHES = ("image", "text", "matching"), (1, 8, 32)
ROUNDS, TOKENS = 7, 14
"""Passes of each way, taken in turn, of which the median counts; and tokens of a text."""


@dataclass(frozen=True)
class Measurable:
    """A runtime that passed the self-check, and its model."""

    way: Way
    model: XFM

    def arithmetic(self) -> AbstractContextManager[object]:
        """Context of its passes; runtimes of graphs have their own arithmetic."""
        bf16 = self.way.form is None and self.way.half
        return autocast(Precision.BF16, "cpu") if bf16 else nullcontext()


def measure_ways(folder: Path, exact: bool, say: Callable[[str], None]) -> ChosenWay:
    """Measure the runtimes of a model, each compared with the self-check; `exact` chooses among float32,
    `say` gets progress."""
    require_seeing(folder, "the benchmark of runtimes")
    place, pretrained = kept_for(folder), load_model(folder)
    found, left_out = [], []
    for way in WAYS.values():
        try:
            found.append(_candidate(way, pretrained, place, say))
        except UserError as error:
            if way is WAYS["torch"]:
                raise
            left_out.append(f"{way.name}: {error}")
    say(f"measuring {', '.join(one.way.name for one in found)} in turn")
    figures = tuple(_figures(found, pretrained))
    allowed = [one.way for one in found if not (exact and one.way.half)]
    return ChosenWay(_best(figures, allowed), machine(), figures, tuple(left_out))


def _candidate(way: Way, pretrained: Pretrained, place: Path, say: Callable[[str], None]) -> Measurable:
    if way.form is None:
        arithmetic = Arithmetic.BF16 if way.half else Arithmetic.FLOAT32
        model = pretrained.model
        if way.half:  # as pipelines run it
            model = copy.deepcopy(model)
            hold(replace(pretrained, model=model, task=None).encoders, Precision.BF16, "cpu")
        found = Measurable(way, model)
        with found.arithmetic():
            verify_here("the model", model, pretrained.belongings, arithmetic)
        return found
    if isinstance(pretrained.task, Answerer | Captioner):
        raise UserError("the model answers by a decoder, which torch computes")
    if way.half and not bf16_is_fast(torch.device("cpu")):
        raise UserError("bf16 is not fast on this processor")
    _exported(way.form, pretrained, place, say)
    return Measurable(way, open_exported(place / way.form.value, way.half, name=way.name).model)


def _exported(form: Format, pretrained: Pretrained, place: Path, say: Callable[[str], None]) -> None:
    from xfm.models.runtimes.backends import RUNTIMES

    folder = place / form.value
    try:
        if read_manifest(folder).versions == RUNTIMES[form].load().versions():
            return
    except UserError:  # there is none yet, or one of another version
        pass
    say(f"writing {form.value}, once")
    place.mkdir(parents=True, exist_ok=True)
    export(pretrained, folder, form)


def _figures(found: list[Measurable], pretrained: Pretrained) -> Iterator[Figure]:
    for batch in BATCHES:
        for work in WORK:
            jobs = [(one, _job(one, work, batch, pretrained)) for one in found]
            times = defaultdict[str, list[float]](list)
            for turn in range(ROUNDS + 1):
                for one, job in jobs:
                    began = time.perf_counter()
                    with torch.inference_mode(), one.arithmetic():
                        job()
                    if turn:  # the first pass builds kernels
                        times[one.way.name].append(1000 * (time.perf_counter() - began))
            for name, taken in times.items():
                yield Figure(name, work, batch, round(statistics.median(taken), 3))


def _job(one: Measurable, work: str, batch: int, pretrained: Pretrained) -> Callable[[], object]:
    model, language = one.model, pretrained.model.config.language
    generator = torch.Generator().manual_seed(0)
    length = min(TOKENS, language.longest)
    ids = torch.randint(0, language.vocab_size, (batch, length), generator=generator)
    ids[ids == language.pad] = (language.pad + 1) % language.vocab_size
    mask = torch.ones(batch, length, dtype=torch.bool)
    pixels = torch.randn(batch, 3, *pretrained.preprocessing.shape, generator=generator)
    if work == "image":
        return lambda: model.embed_image(pixels)
    if work == "text":
        return lambda: model.embed_text(ids, mask)
    with torch.inference_mode(), one.arithmetic():
        image, text = model.encode_image(pixels[:1]), model.encode_text(ids, mask)
    index = torch.zeros(batch, dtype=torch.int64)
    return lambda: model.match_logits(model.fuse(text, mask, image, index))


def _best(figures: tuple[Figure, ...], allowed: list[Way]) -> str:
    logarithms = defaultdict[str, list[float]](list)
    for one in figures:
        logarithms[one.way].append(math.log(max(one.milliseconds, 1e-6)))
    return min((way.name for way in allowed), key=lambda name: statistics.fmean(logarithms[name]))
