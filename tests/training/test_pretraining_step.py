"""Contrast over several batches of a step: the gradient of all of them, under the same dropout."""

from typing import Any

import torch

from tests.modeling.build import gradients
from tests.training.ranks import LEAKY, OnePhase, global_batch
from tests.training.support import called, model_with_dropout
from xfm.config.model import MimTarget
from xfm.config.training import LossConfig
from xfm.models.gradients import PRETRAINING
from xfm.models.xfm import XFM
from xfm.objectives.contrast import compare, vectors_of
from xfm.objectives.step import encode_texts, encode_unmasked, sources_of
from xfm.objectives.text_rows import PairEmbeddings
from xfm.training.pretraining_step import PretrainingStep, StepPart

CONTRAST = LossConfig(mlm=0, itm=0, imlm=0, mim=0, box_l1=0, box_giou=0)
BATCHES = 3


def parts_of(model: XFM) -> tuple[PretrainingStep, list[StepPart]]:
    data: Any = OnePhase(CONTRAST)
    step = PretrainingStep([PRETRAINING], MimTarget.STATES, data)
    batches = [global_batch(number) for number in range(BATCHES)]
    parts = step.split(model, batches, torch.Generator(), called(model))
    return step, [part for (part,) in parts]


def in_one_graph(model: XFM, parts: list[StepPart]) -> torch.Tensor:
    """The contrast of all batches, each under the dropout of its part, with everything in memory."""
    found: dict[str, list[PairEmbeddings]] = {}
    for part in parts:
        assert part.random
        for one in part.random:
            one.restore()
        images = encode_unmasked(model, part.batch.pair, part.batch.region)
        texts = encode_texts(model, part.batch, PRETRAINING, CONTRAST)
        for source in sources_of(part.batch, images, texts):
            found.setdefault(source.name, []).append(vectors_of(model, source.rows, PRETRAINING))
    everyone = [PairEmbeddings.join(several) for several in found.values()]
    losses = [compare(rows, rows, 0, model.temperature).loss for rows in everyone]
    return torch.stack(losses).sum()


def test_the_gradient_of_all_batches_is_found_batch_by_batch() -> None:
    torch.manual_seed(3)
    model = model_with_dropout().train()
    step, parts = parts_of(model)
    found = [step(model, part, torch.Generator()).total / BATCHES for part in parts]
    for loss in found:
        loss.backward()
    ours, total = gradients(model), torch.stack(found).sum()
    model.zero_grad()
    expected = in_one_graph(model, parts)
    expected.backward()
    torch.testing.assert_close(total, expected)
    theirs = gradients(model)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def kept_by(model: XFM, step: PretrainingStep, part: StepPart) -> int:
    """Bytes that a part's forward pass keeps for its backward pass."""
    kept: dict[int, int] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (kept.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}), t)[1],
        lambda t: t,
    ):
        step(model, part, torch.Generator())
    return sum(kept.values())


def test_a_part_keeps_no_more_than_a_step_of_its_own() -> None:
    model = model_with_dropout().train()
    step, parts = parts_of(model)
    ((single,),) = step.split(model, [parts[0].batch], torch.Generator(), called(model))
    assert kept_by(model, step, parts[0]) < 1.1 * kept_by(model, step, single)


def test_a_source_keeps_less_than_all_of_them() -> None:
    """Each alone, whatever has weight; what nothing is learned from is no part."""
    model, batch = model_with_dropout().train(), global_batch(0)
    kept: dict[bool, list[int]] = {}
    for sequential_sources in (False, True):
        data: Any = OnePhase(LossConfig(mlm=0))
        step = PretrainingStep([PRETRAINING], MimTarget.STATES, data, sequential_sources)
        (parts,) = step.split(model, [batch], torch.Generator(), called(model))
        kept[sequential_sources] = [kept_by(model, step, part) for part in parts]
    assert len(kept[True]) == len({"image", "pair", "region"})
    assert max(kept[True]) < 0.7 * kept[False][0]


class ByBatch(OnePhase):
    """Every batch is a phase of its own."""

    def phase_number(self, batch: int) -> int:
        return batch


def test_gradients_go_where_the_phase_says() -> None:
    """Of matching alone: into the language encoder in the second phase, and not in the first."""
    data: Any = ByBatch(LossConfig(mlm=0, itc=0, imlm=0, mim=0, box_l1=0, box_giou=0))
    model = model_with_dropout()
    step = PretrainingStep([PRETRAINING, LEAKY], MimTarget.STATES, data)
    reached = []
    for number in range(2):
        model.zero_grad()
        ((part,),) = step.split(model, [global_batch(number)], torch.Generator(), called(model))
        step(model, part, torch.Generator()).total.backward()
        reached.append({name.split(".")[0] for name, gradient in gradients(model).items() if gradient.any()})
    assert "fusion" in reached[0]
    assert "language" not in reached[0]
    assert reached[1] == reached[0] | {"language"}
