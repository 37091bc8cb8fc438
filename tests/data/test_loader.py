"""Batches are a pure function of the step: whatever the workers, the restart and the sharding.

Loader processes: what they say of their troubles, how batches leave them, which pictures they keep.
"""

import multiprocessing
import os
import random
import resource
import signal
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass, fields, replace
from multiprocessing.reduction import DupFd

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.alike import thorough
from tests.data.conftest import batches
from tests.refusals import expect_refusal
from xfm.config.data import Augmentation, CorpusConfig, DataConfig, PatchMaskConfig, StreamConfig
from xfm.data import image_cache, records, streams
from xfm.data.builder import BatchBuilder
from xfm.data.collate import identity
from xfm.data.image_cache import ImageCache
from xfm.data.loader import PretrainingData
from xfm.data.schema import Batch, TensorFields, TextBatch
from xfm.data.workers import SharedBatch, load_steps


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, TensorFields):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return a == b


def published(corpus) -> DataConfig:
    config = corpus.config()
    mode = Augmentation.PUBLISHED
    return replace(config, **{name: replace(one, augmentation=mode) for name, one in config.streams.items()})


# ------------------------------------------------------------------ determinism
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mode", ["mild", "published"])
def test_restart_and_workers_do_not_matter(corpus, workers, mode):
    config = corpus.config() if mode == "mild" else published(corpus)
    reference = batches(config, 0, 7)
    for start, stop in ((0, 3), (2, 7), (5, 6)):
        again = batches(replace(config, workers=workers), start, stop)
        assert [b.step for b in again] == list(range(start, stop))
        assert all(same(a, b) for a, b in zip(reference[start:stop], again, strict=True))
    assert not same(reference[0], replace(reference[1], step=0))


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_the_batch_of_one_process(corpus, workers):
    """Unevenly too: 6, 3, 4 and 5 samples among two or three processes."""
    config = replace(published(corpus), workers=workers)
    whole = batches(config, 2, 5)
    for world in (2, 3):
        shares = [batches(config, 2, 5, rank=rank, world=world) for rank in range(world)]
        for step, parts in zip(whole, zip(*shares, strict=True), strict=True):
            for name in ("image", "pair", "region"):
                pixels = [getattr(part, name).pixels for part in parts]
                assert torch.equal(torch.cat(pixels), getattr(step, name).pixels)
            for name, field in (("region", "image_identity"), ("pair", "text_identity")):
                found = [getattr(getattr(part, name), field) for part in parts]
                assert torch.equal(torch.cat(found), getattr(getattr(step, name), field))
            assert [row for part in parts for row in in_words(part.text)] == in_words(step.text)
            origins = [str(origin) for part in parts for origin in part.origins]
            assert sorted(origins) == sorted(map(str, step.origins))


def in_words(text: TextBatch) -> list[tuple[list[int], list[int]]]:
    rows = zip(text.tokens.ids, text.tokens.mask, text.masked.labels, strict=True)
    return [(ids[: int(mask.sum())].tolist(), labels[labels != -100].tolist()) for ids, mask, labels in rows]


@thorough
def test_a_run_that_moves_between_numbers_of_processes_sees_the_same_samples(corpus):
    """1 -> 2 -> 3 -> 1 processes, with other numbers of loaders, in a weighted mixture with groups."""
    paths = [str(corpus.folder / f"scenes-0000{i}.tar") for i in range(2)]
    stream = StreamConfig(6, [CorpusConfig(paths[0], 3, group=2), CorpusConfig(paths[1], 1)])
    config = corpus.only(pair=stream, patch_mask=PatchMaskConfig(24, 4))
    whole, moved = batches(config, 0, 12), []
    for start, world, workers in ((0, 1, 1), (3, 2, 0), (6, 3, 2), (9, 1, 0)):
        now = replace(config, workers=workers)
        shares = [batches(now, start, start + 3, rank=rank, world=world) for rank in range(world)]
        for step, parts in enumerate(zip(*shares, strict=True), start):
            moved += [origin for part in parts for origin in part.origins]
            pixels = torch.cat([part.pair.pixels for part in parts])
            assert torch.equal(pixels, whole[step].pair.pixels)
    assert moved == [origin for step in whole for origin in step.origins]


def test_a_batch_that_cannot_be_shared_is_refused(corpus):
    with expect_refusal("data.image.batch_size is 3, which 4 processes cannot share", "at least 4"):
        PretrainingData(corpus.config(), 96, 12, 0, rank=3, world=4)
    twins = StreamConfig(4, [CorpusConfig(str(corpus.folder / "scenes-*.tar"), group=2)])
    with expect_refusal("data.pair.batch_size is 4 in groups of 2, which 3 processes", "at least 6"):
        PretrainingData(corpus.only(pair=twins, patch_mask=PatchMaskConfig(24, 4)), 96, 12, 0, world=3)


@pytest.mark.parametrize("workers", [0, 1])
def test_global_random_states_are_left_alone(corpus, workers):
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    batches(replace(published(corpus), workers=workers), 0, 2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert before[2] == random.getstate()


# ------------------------------------------------------------------ contents
def test_contents(corpus):
    config = corpus.config()
    batch = batches(config, 0, 1)[0]
    assert batch.text.tokens.ids.shape[0] == 6
    assert batch.text.tokens.ids.shape[1] <= 48
    for part, size in ((batch.image, 3), (batch.pair, 4), (batch.region, 5)):
        assert part.pixels.shape == (size, 3, 96, 96)
        assert part.pixels.dtype == torch.float32
        assert -2.2 < part.pixels.min() < part.pixels.max() < 2.7
    assert batch.image.patch_mask.sum(1).tolist() == [24] * 3
    assert batch.pair.patch_mask.sum(1).tolist() == [24] * 4
    assert len(batch.origins) == 6 + 3 + 4 + 5
    assert batch.skipped == ()
    for tokens, masked in ((p.tokens, p.masked) for p in (batch.text, batch.pair, batch.region)):
        kept = masked.labels != -100
        assert kept.any(1).all()
        assert torch.equal(tokens.ids.gather(1, masked.positions)[kept], masked.labels[kept])
        assert (tokens.ids[:, 0] == 0).all()
        assert (tokens.ids.gather(1, tokens.mask.sum(1, keepdim=True) - 1) == 2).all()


# ------------------------------------------------------------------ processes
def test_a_dying_worker_is_explained(corpus, monkeypatch):
    monkeypatch.setattr(BatchBuilder, "__call__", lambda self, step: os.kill(os.getpid(), signal.SIGKILL))
    with expect_refusal("loader process died", "lower data.workers"):
        batches(replace(corpus.config(), workers=1), 0, 1)


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
