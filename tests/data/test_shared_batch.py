"""Batches that travel between processes: what comes out is what went in."""

import resource
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.data.conftest import batches
from xfm.data.schema import Batch, TensorFields
from xfm.data.shared_batch import SharedBatch
from xfm.data.workers import load_steps

TYPES = (torch.uint8, torch.bool, torch.bfloat16, torch.float64, torch.int64, torch.complex64)
SHAPES = ((), (0,), (3,), (2, 0, 5), (5, 1, 7))


@dataclass(frozen=True)
class Odd(TensorFields):
    """Tensors of all sorts, beside something else."""

    tensors: tuple[Tensor, ...]
    other: object


def odd() -> Odd:
    numbers = [torch.arange(torch.Size(shape).numel()).reshape(shape) % 2 for shape in SHAPES]
    strided = torch.arange(24).reshape(4, 6).T, torch.arange(3).expand(2, 3)
    return Odd((*(one.to(kind) for kind in TYPES for one in numbers), *strided), {"name": ["é", None, 3]})


def tensors_of(batch: Batch) -> list[Tensor]:
    found: list[Tensor] = []
    batch.map(lambda tensor: found.append(tensor) or tensor)
    return found


@pytest.mark.parametrize("room", [True, False])
def test_what_comes_out_is_what_went_in(room: bool) -> None:
    """In shared memory, or as bytes where there is none: it counts as a file."""
    given, limits = odd(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits if room else (100, limits[1]))
    try:
        sent = SharedBatch.of(given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(sent.block, Tensor) == room
    found = sent.unpacked()
    assert found.other == given.other
    assert [one.dtype for one in found.tensors] == [one.dtype for one in given.tensors]
    assert all(map(torch.equal, found.tensors, given.tensors))


def test_a_batch_of_a_loader_is_one_block(corpus) -> None:
    (batch,) = batches(corpus.config(), 0, 1)
    (found,) = load_steps(lambda step: batch, range(1), workers=1, timeout=20, pin=False)
    assert isinstance(found, Batch)
    assert found.origins == batch.origins
    assert all(map(torch.equal, tensors_of(found), tensors_of(batch)))
    assert len({one.untyped_storage().data_ptr() for one in tensors_of(found)}) == 1 < len(tensors_of(batch))


def numbered(step: int) -> Odd:
    return Odd((torch.full((1000 + step,), step),), step)


def test_batches_that_are_kept_stay_as_they_are() -> None:
    """Where there is no shared memory, either."""

    def build(step: int) -> Odd:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return numbered(step)

    kept = list(load_steps(build, range(24), workers=2, timeout=20, pin=False))
    for step, batch in enumerate(kept):
        assert isinstance(batch, Odd)
        assert batch.other == step
        assert torch.equal(batch.tensors[0], numbered(step).tensors[0])
