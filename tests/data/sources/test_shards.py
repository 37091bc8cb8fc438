"""Shards by their index: the same records as by a scan, and of a wrong index nothing but bad records.

What is written beside the shards is read again, and nothing else is taken for it.
"""

import io
import os
import tarfile
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import PICTURE, region_members, write_tar
from tests.data.sources.forging import forge
from tests.refusals import expect_refusal
from xfm.data.records import BadRecordError, SampleKind
from xfm.data.sources import open_source, shard_index
from xfm.data.sources.base import StoredFile
from xfm.data.sources.shard_index import INDEX, index_folder, index_shard, open_index, write_index


def shards_of(folder):
    return sorted(folder.glob("*.tar"))


def records_of(source) -> list:
    found = []
    for number in range(len(source)):
        try:
            found.append(source.record(number))
        except BadRecordError as error:
            found.append(str(error))
    return found


NAMES = st.text(st.sampled_from("abc/é漢 .\n"), min_size=1, max_size=12).map(
    lambda text: text.strip("/ .") or "k"
)
LONG = st.sampled_from(["n" * 120, "folder/" * 30 + "k", "ü" * 90, "x" * 700, "d/" * 400])


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(NAMES | LONG, st.sets(st.sampled_from(["jpg", "json", "txt", "cls"]), min_size=1)),
        max_size=6,
    ),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.sampled_from([*SampleKind]),
)
def test_records_are_those_of_a_scan(tmp_path_factory, rows, form, kind):
    """Whatever the names: long ones and those of other scripts stand in notes before the headers."""
    folder = tmp_path_factory.mktemp("tars")
    contents = {"jpg": PICTURE, "json": b'{"caption": "a", "text": "b"}', "txt": b"some text", "cls": b"3"}
    with tarfile.open(folder / "a.tar", "w", format=form) as tar:
        for number, (name, endings) in enumerate([("first", {"jpg", "txt"}), *rows]):
            for ending in sorted(endings):
                info = tarfile.TarInfo(f"{number}{name}.{ending}")
                info.size = len(contents[ending])
                try:
                    tar.addfile(info, io.BytesIO(contents[ending]))
                except ValueError:  # too long for this format
                    continue
    scanned = records_of(open_source(folder / "a.tar", kind))
    index_folder(folder, shards_of(folder))
    assert records_of(open_source(folder / "a.tar", kind)) == scanned
    with tarfile.open(folder / "a.tar") as tar:
        names = [str(PurePosixPath(member.name)) for member in tar]
    keys = [record.origin.key for record in scanned if not isinstance(record, str)]
    assert all(any(name.strip("/").startswith(key.strip("/")) for name in names) for key in keys)


# ------------------------------------------------------------------ the file of an index
def test_what_is_written_is_read(folder):
    members = region_members(np.random.default_rng(0), 2, first=10, size=(24, 24))
    write_tar(folder / "scenes-00001.tar", members | {"19.jpg": b"no text"})
    entries = [index_shard(path) for path in shards_of(folder)]
    index = open_index(write_index(folder, entries))
    assert index.names == tuple(path.name for path in shards_of(folder))
    assert index.ends.tolist() == [4, 7, 11]
    assert index.text_ends.tolist() == [4, 6, 10]
    for again, entry in zip(index.shards(), entries, strict=True):
        assert np.array_equal(again.spans, entry.spans)
        assert (again.name, again.size, again.modified) == (entry.name, entry.size, entry.modified)
        assert again.sample == entry.sample
    assert np.array_equal(index.spans(4, 7), entries[1].spans)
    assert [path.name for path in folder.iterdir() if path.suffix != ".tar"] == [INDEX]


def test_many_bytes_without_an_index_are_scanned_with_a_word(folder, monkeypatch, caplog):
    monkeypatch.setattr(shard_index, "SMALL", 0)
    assert len(open_source(folder, "pair")) == 12
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


# ------------------------------------------------------------------ an index of other shards
def test_a_copy_is_known_again_and_a_changed_shard_is_not(folder):
    index_folder(folder, shards_of(folder))
    path = folder / "scenes-00001.tar"
    os.utime(path, ns=(1, 1))  # as a copy has it
    assert len(records_of(open_source(folder, "pair"))) == 12
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    with expect_refusal("scenes-00001.tar cannot be read (it was changed after it had been indexed"):
        open_source(folder, "pair")
    path.write_bytes(data + bytes(512))
    with expect_refusal(
        f"scenes-00001.tar cannot be read (it has {len(data) + 512} bytes and was indexed with "
        f"{len(data)}; run `xfm data index {folder}`"
    ):
        open_source(folder, "pair")


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_shard_that_changes_while_it_is_used(folder, how):
    index_folder(folder, shards_of(folder))
    source = open_source(folder, "pair")
    path = folder / "scenes-00001.tar"
    if how == "changed":
        path.write_bytes(path.read_bytes()[::-1])
    else:
        path.unlink()
    found = records_of(source)
    assert [isinstance(record, str) for record in found] == [False] * 4 + [True] * 4 + [False] * 4
    assert all("scenes-00001.tar:" in record for record in found[4:8])


# ------------------------------------------------------------------ an index that lies
def lying(folder, spans):
    file = StoredFile.of(folder / "a.tar")
    count = len(spans)
    forge(folder, spans, ["a.tar"], [file.size], [count], [count], [file.modified])


def test_members_of_other_records_are_not_put_together(tmp_path):
    members = {"a.jpg": PICTURE, "a.json": b'{"caption": "a"}'}
    members |= {"b.jpg": PICTURE, "b.json": b'{"caption": "b"}'}
    write_tar(tmp_path / "a.tar", members)
    spans = index_shard(tmp_path / "a.tar").spans
    lying(tmp_path, spans)
    found = records_of(open_source(tmp_path, "pair"))
    assert [record.annotation["caption"] for record in found] == ["a", "b"]
    mixed = spans.copy()
    mixed[0, 1], mixed[1, 1] = spans[1, 1], spans[0, 1]
    turned = spans[:, [1, 0, 2]]
    shorter = spans - np.array([0, 1])
    headless = spans & np.array([-1, 2**48 - 1])
    further = spans + np.array([0, 2**48])
    shifted = spans + np.array([1, 0])
    for wrong in (mixed, turned, shorter, shifted, headless, further):
        lying(tmp_path, wrong)
        found = records_of(open_source(tmp_path, "pair"))
        assert all(isinstance(record, str) and "where the index has it" in record for record in found)
        assert all(f"xfm data index {tmp_path}" in record for record in found)


@settings(max_examples=120)
@given(st.data())
def test_any_spans_give_true_records_or_bad_ones(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("lying")
    contents = {"a.txt": b"first", "b.txt": b"second" * 200, "c.txt": b"third"}
    write_tar(folder / "a.tar", contents)
    spans = index_shard(folder / "a.tar").spans
    numbers = st.sampled_from([0, 1, 511, 512, 1024, 2**48 + 5, 2**62, -1, -512, 2**63 - 1, -(2**63)])
    for _ in range(data.draw(st.integers(1, 4))):
        place = tuple(data.draw(st.integers(0, size - 1)) for size in spans.shape)
        by = st.integers(-600, 600).map(lambda by, at=int(spans[place]): at + by)
        spans[place] = min(2**63 - 1, max(-(2**63), data.draw(numbers | by)))
    lying(folder, spans)
    source = open_source(folder, "text")
    for record in records_of(source):
        if not isinstance(record, str):
            assert record.annotation["text"].encode() == contents[f"{record.origin.key}.txt"]
