"""Pre-training from stores: batches are those of shards on a disk, or a sentence comes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.alike import some, thorough
from tests.data.conftest import region_members, write_tar
from tests.data.sources.store_servers import web_store
from tests.refusals import expect_refusal
from xfm.config.data import CorpusConfig, DataConfig, Order, PatchMaskConfig, RemoteConfig, StreamConfig
from xfm.data.loader import PretrainingData
from xfm.data.sources.shard_index import index_folder
from xfm.data.tokenizer import train_tokenizer

REMOTE = RemoteConfig(cache_mb=64, patience=20.0)


@pytest.fixture
def shards(tmp_path, monkeypatch) -> Path:
    """Shards with a tokenizer beside them."""
    monkeypatch.setenv("XFM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(3):
        members = region_members(np.random.default_rng(shard), 10, first=10 * shard, size=(48, 48))
        write_tar(folder / f"scenes-{shard:05d}.tar", members)
    train_tokenizer(["a red cat near a dog", "the blue house", "number 1 2 3"], 300).save(
        tmp_path / "tokenizer.json"
    )
    return folder


def data_of(place: str, shards: Path, order: Order = Order.RANDOM, workers: int = 2, **remote) -> DataConfig:
    corpora = [CorpusConfig(place, order=order, run=4, window=2)]
    return DataConfig(
        image=StreamConfig(3, corpora),
        region=StreamConfig(4, corpora),
        tokenizer=str(shards.parent / "tokenizer.json"),
        patch_mask=PatchMaskConfig(6, 2),
        workers=workers,
        remote=replace(REMOTE, **remote),
    )


def batches(config: DataConfig, start: int = 0, stop: int = 8):
    return list(PretrainingData(config, 48, 12, seed=3).batches(start, stop))


def tensors_of(batch):
    found = []
    batch.map(lambda tensor: found.append(tensor) or tensor)
    return found


def named(origins):
    return [(Path(origin.shard).name, origin.key) for origin in origins]


@thorough
@pytest.mark.parametrize("order", some([*Order], 3))
def test_batches_are_those_of_the_disk_whatever_fails_on_the_way(shards, order):
    """In two loader processes, which are forked after this one has asked the store."""
    expected = batches(data_of(str(shards / "scenes-*.tar"), shards, order))
    with web_store(shards) as web:
        place = f"{web.address}/scenes-{{00000..00002}}.tar"
        config = data_of(place, shards, order)
        web.fault = lambda number: (503, "cut", None, "hung up", None, None)[number % 6]
        found = batches(config)
        assert len(web.asked) > 6
    for one, other in zip(found, expected, strict=True):
        assert named(one.origins) == named(other.origins)
        for mine, theirs in zip(tensors_of(one), tensors_of(other), strict=True):
            assert mine.equal(theirs)


def test_a_store_that_goes_away_ends_the_run_with_a_sentence(shards):
    with web_store(shards) as web:
        config = data_of(f"{web.address}/scenes-{{00000..00002}}.tar", shards, workers=0, patience=1.0)
        index_folder(shards, sorted(shards.glob("*.tar")), progress=False)  # so that nothing is read before
        data = PretrainingData(config, 48, 12, seed=3)
        web.fault = lambda number: 503
        with expect_refusal(web.address, "HTTP 503", "data.remote.patience"):
            list(data.batches(0, 2))
        web.fault = lambda number: 403
        with expect_refusal(web.address, "HTTP 403", "your rights"):
            list(data.batches(0, 2))
