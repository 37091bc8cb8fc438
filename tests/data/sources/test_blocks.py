"""Blocks on the disk: what comes back is what was kept, whatever happened, and there are never too many."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.data.sources import remote as module
from xfm.data.sources.remote import DiskBlocks


def stored(folder):
    return sum(path.stat().st_size for path in folder.rglob("*.block"))


@settings(max_examples=25)
@given(st.integers(0, 20_000), st.lists(st.tuples(st.integers(0, 30), st.binary(max_size=2000)), max_size=60))
def test_room_is_kept_and_blocks_come_back(tmp_path_factory, room, kept):
    folder = tmp_path_factory.mktemp("blocks")
    disk, expected = DiskBlocks(folder, room), {}
    for name, data in kept:
        disk.keep(str(name), data)
        expected[str(name)] = data
        assert stored(folder) <= room * (1 + 1 / 32) + len(data) + 4 if room else stored(folder) == 0
    for name, data in expected.items():
        assert disk.find(name) in (data, None)


def test_a_gigabyte_of_the_disk_is_left_to_others(tmp_path, monkeypatch, caplog):
    disk, usage = DiskBlocks(tmp_path, 1 << 30), shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: usage._replace(free=(1 << 30) + 2000))
    disk.keep("a", bytes(1000))
    disk.keep("b", bytes(3000))
    disk.keep("c", bytes(3000))
    assert [disk.find(name) is not None for name in "abc"] == [True, False, False]
    assert [record.message.count("is free") for record in caplog.records] == [1]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"X" + data[1:]])
def test_what_is_damaged_is_not_there(tmp_path, damage):
    disk = DiskBlocks(tmp_path, 10_000)
    disk.keep("a", b"some text")
    (path,) = tmp_path.rglob("*.block")
    path.write_bytes(damage(path.read_bytes()))
    assert disk.find("a") is None
