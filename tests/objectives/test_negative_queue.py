"""Negatives of earlier steps: what may be drawn, how often, and what a run needs to go on."""

from dataclasses import replace

import pytest
import torch

from tests.training.ranks import OnePhase, global_batch
from tests.training.support import called, model_with_dropout
from xfm.config.model import MimTarget
from xfm.config.training import LossConfig, NegativesConfig
from xfm.models.fusion import TextBank
from xfm.models.gradients import PRETRAINING
from xfm.objectives.negatives import SHARE, NegativeQueue, Negatives
from xfm.objectives.text_rows import PairEmbeddings, TextRows, image_rows
from xfm.training.pretraining_step import PretrainingStep

WIDTH, PATCHES = 4, 3
MATCHING = LossConfig(mlm=0, itc=0, imlm=0, mim=0, box_l1=0, box_giou=0)
NEGATIVES = NegativesConfig(queue_size=6)


def pairs(first: int, count: int, length: int = 5) -> tuple[TextRows, PairEmbeddings]:
    """Pairs numbered from `first`, which their states hold everywhere and their identities are."""
    numbers = torch.arange(first, first + count)
    states = numbers.float()[:, None, None].expand(count, 1 + PATCHES, WIDTH)
    texts = numbers.float()[:, None, None].expand(count, length, WIDTH)
    mask = torch.ones(count, length, dtype=torch.bool)
    rows = image_rows(states, TextBank(texts, mask), (numbers, numbers + 1000))
    unit = torch.nn.functional.normalize(torch.randn(2, count, WIDTH), dim=-1)
    return rows, PairEmbeddings(unit[0], unit[1], rows.image_identity, rows.text_identity)


def in_batch(count: int) -> Negatives:
    others = (torch.arange(count) + 1) % count
    return Negatives(others, others, torch.ones(count, dtype=torch.bool))


def asked(memory: NegativeQueue, rows: TextRows, vectors: PairEmbeddings) -> tuple[list[int], list[int]]:
    """The numbers of the negative picture and the negative text of each pair."""
    wider, negatives = memory.with_negatives(rows, in_batch(len(rows.image)), vectors, torch.tensor(0.1))
    assert all(one.isfinite().all() for one in (wider.bank.keys, wider.texts.states))  # fusion sees them all
    pictures = wider.bank.patches[wider.image[negatives.image]][:, 0, 0]
    return pictures.int().tolist(), wider.texts.states[negatives.text][:, 0, 0].int().tolist()


def test_half_of_the_pairs_have_negatives_of_the_last_steps() -> None:
    memory = NegativeQueue(8)
    for first in (0, 6, 12):  # what is kept are the numbers 10 to 17
        memory.add(*pairs(first, 6))
    drawn: set[int] = set()
    for _ in range(40):
        found = asked(memory, *pairs(100, 6))
        for numbers in found:
            old = [number for number in numbers if number < 100]
            assert len(old) == 6 * SHARE
            drawn.update(old)
            batch = [100 + (place + 1) % 6 for place in range(6)]
            assert all(number in (own, *old) for number, own in zip(numbers, batch, strict=True))
    assert drawn == set(range(10, 18))


def test_the_nearest_are_drawn_most() -> None:
    torch.manual_seed(1)
    memory = NegativeQueue(4)
    rows, kept = pairs(0, 4)
    axes = torch.eye(WIDTH)
    memory.add(rows, replace(kept, image=axes, text=axes))
    rows, own = pairs(100, 4)
    own = replace(own, image=axes.flip(0), text=axes.flip(0))  # pair 100 is nearest to what 3 shows, ...
    for _ in range(20):
        for numbers in asked(memory, rows, own):
            assert all(number >= 100 or number == 3 - place for place, number in enumerate(numbers))


def test_a_pair_is_never_its_own_negative() -> None:
    """Not even by an equal caption or an equal picture alone."""
    torch.manual_seed(2)
    memory, (rows, vectors) = NegativeQueue(3), pairs(0, 3)
    memory.add(rows, vectors)
    equal = replace(
        vectors, image_identity=torch.tensor([0, 50, 51]), text_identity=torch.tensor([60, 1001, 61])
    )
    for _ in range(30):
        for numbers in asked(memory, *[pairs(100, 3)[0], equal]):
            assert numbers[0] != 0
            assert numbers[1] != 1


@pytest.mark.parametrize("spoilt", ["vectors", "states"])
def test_of_a_step_that_was_skipped_nothing_is_drawn(spoilt: str) -> None:
    torch.manual_seed(3)
    memory, (rows, vectors) = NegativeQueue(6), pairs(0, 3)
    if spoilt == "vectors":
        vectors = replace(vectors, image=vectors.image * torch.nan)
    else:
        rows = replace(rows, texts=replace(rows.texts, states=rows.texts.states * torch.nan))
    memory.add(rows, vectors)
    assert all(number >= 100 for numbers in asked(memory, *pairs(100, 4)) for number in numbers)
    memory.add(*pairs(10, 3))
    for _ in range(20):
        assert all(number >= 10 for numbers in asked(memory, *pairs(100, 4)) for number in numbers)


def steps_of(memory: dict[str, torch.Tensor] | None, numbers: range) -> tuple[list[float], PretrainingStep]:
    torch.manual_seed(5)
    model = model_with_dropout().eval()
    data: object = OnePhase(MATCHING, NEGATIVES)
    step = PretrainingStep([PRETRAINING], MimTarget.STATES, data)  # pyright: ignore[reportArgumentType]
    if memory is not None:
        step.load_state_dict(memory)
    losses = []
    for number in numbers:
        torch.manual_seed(number)
        ((part,),) = step.split(model, [global_batch(number)], torch.Generator(), called(model))
        losses.append(step(model, part, torch.Generator().manual_seed(number)).terms["pair/itm"].item())
    return losses, step


def test_a_step_goes_on_with_what_it_remembered() -> None:
    whole, _ = steps_of(None, range(4))
    first, step = steps_of(None, range(2))
    kept = step.state_dict()
    assert kept["usable"].all()
    rest, _ = steps_of(kept, range(2, 4))
    assert [*first, *rest] == whole
    without, _ = steps_of(None, range(2, 4))
    assert without != rest  # which would say that nothing of it is used
