"""Loader processes: what they say of their troubles, how batches leave them, which pictures they keep."""

import multiprocessing
import os
import resource
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass, replace
from multiprocessing.reduction import DupFd

import pytest
import torch
from torch import Tensor

from tests.data.conftest import batches
from xfm.data import image_cache, records, streams
from xfm.data.collate import identity
from xfm.data.image_cache import ImageCache
from xfm.data.loader import PretrainingData
from xfm.data.schema import Batch, TensorFields
from xfm.data.workers import SharedBatch, load_steps


@pytest.mark.parametrize("how", ["reset", "closed"])
def test_a_connection_that_breaks_off_is_no_trouble_of_a_loader(corpus, tmp_path, capfd, how):
    """The training process breaks off when another loader has died, wherever it is."""
    (batch,) = batches(corpus.config(), 0, 1)
    told = tmp_path / "address"

    def build(step):
        if not told.exists():
            with open(os.devnull) as anything:
                told.write_text(DupFd(anything.fileno())._id[0])
        return batch

    stream = load_steps(build, range(4), workers=1, timeout=20, pin=False)
    next(stream)
    with socket.socket(socket.AF_UNIX) as broken:
        broken.connect(told.read_text())
        if how == "reset":
            broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.5)
    assert len(list(stream)) == 3
    assert capfd.readouterr().err == ""


# ------------------------------------------------------------------ batches that travel
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


# ------------------------------------------------------------------ pictures that are kept
def picture(seed: int, height: int = 40, width: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def pixels_of(batch: Batch) -> list[torch.Tensor]:
    return [part.pixels for part in (batch.image, batch.pair, batch.region) if part is not None]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_and_nothing_is_decoded_twice(corpus, workers, monkeypatch) -> None:
    config = replace(corpus.config(), workers=workers)
    cache = ImageCache(8 << 20)

    def batches(kept: ImageCache | None) -> list[Batch]:
        return list(PretrainingData(config, 96, 12, seed=3, cache=kept).batches(0, 12))

    plain, first = batches(None), batches(cache)
    count = len(cache)
    assert count > 3
    if not workers:
        monkeypatch.setattr(records, "decode", lambda *_: pytest.fail("a picture was decoded again"))
    read = Counter[bytes]()
    monkeypatch.setattr(streams, "identity", lambda data: read.update([data]) or identity(data))
    again = batches(cache)  # a later phase: other loaders, the same memory
    assert len(cache) == count
    assert max(read.values(), default=1) <= 3  # once by each stream of pictures
    for expected, *others in zip(plain, first, again, strict=True):
        for other in others:
            assert all(map(torch.equal, pixels_of(expected), pixels_of(other)))


def test_loaders_spawned_as_on_macos_give_the_same(corpus, monkeypatch) -> None:
    alone, spawned = (replace(corpus.config(), workers=workers) for workers in (0, 1))
    expected = list(PretrainingData(alone, 96, 12, seed=3).batches(0, 3))
    monkeypatch.setattr(
        multiprocessing.context._default_context, "_actual_context", multiprocessing.get_context("spawn")
    )
    data = PretrainingData(spawned, 96, 12, seed=3, cache=ImageCache(8 << 20))
    for one, other in zip(expected, data.batches(0, 3), strict=True):
        assert all(map(torch.equal, pixels_of(one), pixels_of(other)))


def test_processes_share_what_they_keep_and_the_limit() -> None:
    cache = ImageCache(4 * picture(0).numel())
    child = os.fork()
    if not child:
        cache.keep(1, picture(1))
        cache.keep(1, picture(2))  # known already
        os._exit(0)
    os.waitpid(child, 0)
    found = cache.find(1)
    assert found is not None
    assert torch.equal(found, picture(1))
    assert found.data_ptr() == cache.find(1).data_ptr()  # what is given is no copy
    for key in range(2, 9):
        cache.keep(key, picture(key, 20 + 10 * key, 10))
    kept = [key for key in range(1, 9) if cache.find(key) is not None]
    assert len(cache) == len(kept) < 8
    assert all(torch.equal(cache.find(key), picture(key, 20 + 10 * key, 10)) for key in kept[1:])
    assert cache.find(99) is None


def test_no_more_than_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(image_cache, "free_memory", lambda: 8 << 20)
    cache = image_cache.image_cache_of(100)
    assert cache is not None
    assert "4 MB instead of data.cache_mb=100: 8 MB of memory are free" in caplog.text
    cache.keep(1, picture(1, 1300, 1300))
    assert len(cache) == 0
    assert image_cache.image_cache_of(0) is None
