"""Batches are a pure function of the step: whatever the workers, the restart and the sharding."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from xfm.data.loader import PretrainingData
from xfm.data.schema import Batch, TensorFields


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, TensorFields):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return a == b


def batches(config, start: int, stop: int, **options) -> list[Batch]:
    return list(PretrainingData(config, 96, 12, seed=3, **options).batches(start, stop))


@pytest.mark.parametrize("workers", [1, 2])
def test_restart_and_workers_do_not_matter(corpus, workers):
    reference = batches(corpus.config(), 0, 6)
    again = batches(corpus.config(workers=workers), 2, 6)
    assert [b.step for b in again] == [2, 3, 4, 5]
    assert all(same(a, b) for a, b in zip(reference[2:], again, strict=True))
    assert not same(reference[0], reference[1])
