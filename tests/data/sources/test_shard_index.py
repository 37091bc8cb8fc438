"""The file beside the shards: what is written is read again, and nothing else is taken for it."""

import numpy as np
import pytest

from tests.data.conftest import region_members, write_tar
from tests.refusals import expect_refusal
from xfm.data.sources import open_source, shard_index
from xfm.data.sources.shard_index import (
    INDEX,
    index_folder,
    index_shard,
    open_index,
    write_index,
)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for shard in range(3):
        members = region_members(rng, 3 + shard, first=10 * shard, size=(24, 24))
        write_tar(tmp_path / f"scenes-{shard:05d}.tar", members | {f"{shard}9.jpg": b"no text"})
    return tmp_path


def shards_of(folder):
    return sorted(folder.glob("*.tar"))


def test_what_is_written_is_read(folder):
    entries = [index_shard(path) for path in shards_of(folder)]
    index = open_index(write_index(folder, entries))
    assert index.names == tuple(path.name for path in shards_of(folder))
    assert index.ends.tolist() == [4, 9, 15]
    assert index.text_ends.tolist() == [3, 7, 12]
    for again, entry in zip(index.shards(), entries, strict=True):
        assert np.array_equal(again.spans, entry.spans)
        assert (again.name, again.size, again.modified) == (entry.name, entry.size, entry.modified)
        assert again.sample == entry.sample
    assert np.array_equal(index.spans(4, 9), entries[1].spans)
    assert [path.name for path in folder.iterdir() if path.suffix != ".tar"] == [INDEX]


def test_many_bytes_without_an_index_are_scanned_with_a_word(folder, monkeypatch, caplog):
    monkeypatch.setattr(shard_index, "SMALL", 0)
    assert len(open_source(folder, "pair")) == 15
    assert [f"xfm data index {folder}" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.slow
def test_any_number_of_processes_writes_the_same_bytes(folder):
    (folder / "lone.tar").write_bytes(shards_of(folder)[0].read_bytes())
    written = [index_folder(folder, shards_of(folder), workers).read_bytes() for workers in (1, 2)]
    assert written[0] == written[1]


def test_what_cannot_be_indexed_leaves_the_old_index(folder):
    before = index_folder(folder, shards_of(folder)).read_bytes()
    (folder / "broken.tar").write_bytes(b"no tar at all" * 100)
    with expect_refusal("broken.tar: not a tar header"):
        index_folder(folder, shards_of(folder))
    assert (folder / INDEX).read_bytes() == before
    with expect_refusal("two shards have one name"):
        write_index(folder, [index_shard(shards_of(folder)[1])] * 2)
    with expect_refusal("there are no shards to index"):
        write_index(folder, [])
    assert sorted(path.suffix for path in folder.iterdir()) == [".tar"] * 4 + [".xfm"]
