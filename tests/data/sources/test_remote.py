"""The reader of remote files: any ranges, in threads and processes, and no more is asked for than is due."""

import multiprocessing
import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.processes import wait_until
from xfm.config.data import RemoteConfig
from xfm.data.sources import remote as module
from xfm.data.sources.remote import BLOCK, DiskBlocks, RemoteReader

DATA = random.Random(0).randbytes(40 * BLOCK + 12_345)


@pytest.fixture
def address(web):
    (web.folder / "a.tar").write_bytes(DATA)
    return f"{web.address}/a.tar"


def reader(cache, **changes):
    return RemoteReader(RemoteConfig(**{"cache_mb": 64, "patience": 20.0} | changes), cache / "remote")


def bytes_asked(web):
    spans = [said.removeprefix("bytes=").split("-") for _, said in web.asked]
    return sum(int(end) + 1 - int(start) for start, end in spans)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=8),
    st.sampled_from([0, 1, 64]),
)
def test_any_ranges(address, cache, spans, megabytes):
    mine = reader(cache, cache_mb=megabytes)
    file = mine.find(address)
    for one, other, ahead in spans:
        start, end = sorted(int(share * len(DATA)) for share in (one, other))
        if ahead:
            mine.expect(file, start, end - start)
        assert mine.read(file, start, end - start) == DATA[start:end]


def in_process(mine, file, answers):
    answers.put(mine.read(file, 1000, 5000) == DATA[1000:6000])


def test_processes_share_what_is_on_the_disk(address, cache, web):
    """Forked ones, while threads of this one read ahead."""
    mine = reader(cache)
    file = mine.find(address)
    assert mine.read(file, 0, 10_000) == DATA[:10_000]
    mine.expect(file, 0, len(DATA))
    before = len(web.asked)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    processes = [context.Process(target=in_process, args=(mine, file, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    assert [answers.get(timeout=60) for _ in processes] == [True] * 3
    for process in processes:
        process.join()
    assert all(said is not None and not said.startswith("bytes=0-262143") for _, said in web.asked[before:])


# ------------------------------------------------------------------ reading ahead
def test_what_was_read_ahead_is_not_asked_for_again(address, cache, web):
    mine = reader(cache)
    file = mine.find(address)
    mine.expect(file, 1000, len(DATA) - 1000)
    wait_until(lambda: bytes_asked(web) >= len(DATA))
    wait_until(lambda: all(future.done() for future in [*mine._blocks.values()]))
    before = len(web.asked)
    assert mine.read(file, 0, len(DATA)) == DATA
    assert len(web.asked) == before <= 4
    another = reader(cache)
    another.expect(file, 0, len(DATA))
    assert another.read(file, 0, len(DATA)) == DATA
    assert len(web.asked) == before


def test_another_version_is_another_file(address, cache, web):
    """What is on the disk of the one is not taken for the other."""
    mine = reader(cache)
    assert mine.read(mine.find(address), 0, 1000) == DATA[:1000]
    (web.folder / "a.tar").write_bytes(DATA[::-1])
    assert mine.read(mine.find(address), 0, 1000) == DATA[::-1][:1000]
    web.tags = False  # nothing tells versions apart: nothing is kept
    before = len([*cache.rglob("*.block")])
    another = reader(cache)
    file = another.find(address)
    assert file.version == ""
    assert another.read(file, 0, 1000) == DATA[::-1][:1000]
    assert len([*cache.rglob("*.block")]) == before


# ---------------------------------------------------------------- blocks on the disk
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
