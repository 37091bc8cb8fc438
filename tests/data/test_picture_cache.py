"""Decoded pictures that are kept: the same batches, from memory, within bounds."""

import os
from dataclasses import replace

import pytest
import torch

from xfm.data import image_cache, records
from xfm.data.image_cache import PictureCache
from xfm.data.loader import PretrainingData
from xfm.data.schema import Batch


def picture(seed: int, height: int = 40, width: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def pixels_of(batch: Batch) -> list[torch.Tensor]:
    return [part.pixels for part in (batch.image, batch.pair, batch.region) if part is not None]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_and_nothing_is_decoded_twice(corpus, workers, monkeypatch) -> None:
    config = replace(corpus.config(), workers=workers)
    cache = PictureCache(8 << 20)

    def batches(kept: PictureCache | None) -> list[Batch]:
        return list(PretrainingData(config, 96, 12, seed=3, cache=kept).batches(0, 12))

    plain, first = batches(None), batches(cache)
    count = len(cache)
    assert count > 3
    if not workers:
        monkeypatch.setattr(records, "decode", lambda *_: pytest.fail("a picture was decoded again"))
    again = batches(cache)  # a later phase: other loaders, the same memory
    assert len(cache) == count
    for expected, *others in zip(plain, first, again, strict=True):
        for other in others:
            assert all(map(torch.equal, pixels_of(expected), pixels_of(other)))


def test_processes_share_what_they_keep_and_the_limit() -> None:
    cache = PictureCache(4 * picture(0).numel())
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
    cache = image_cache.picture_cache(100)
    assert cache is not None
    assert "4 MB instead of data.cache_mb=100: 8 MB of memory are free" in caplog.text
    cache.keep(1, picture(1, 1300, 1300))
    assert len(cache) == 0
    assert image_cache.picture_cache(0) is None
