"""Shards without an index: scanned once on a machine."""

import logging
import multiprocessing
import os

import numpy as np
import pytest

from tests.data.conftest import region_members, write_tar
from xfm.data.sources import open_source, scanned


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(scanned, "SMALL", 0)
    monkeypatch.setenv("XFM_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "shards"
    place.mkdir()
    for shard in range(3):
        members = region_members(np.random.default_rng(shard), 4, first=10 * shard, size=(24, 24))
        write_tar(place / f"scenes-{shard:05d}.tar", members)
    return place


def keys(folder) -> list[str]:
    source = open_source(folder, "pair")
    return [source.record(number).origin.key for number in range(len(source))]


EXPECTED = [f"{number:05d}" for number in (0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23)]


def test_what_was_scanned_is_found_again(folder, caplog):
    assert keys(folder) == EXPECTED
    assert [f"xfm data index {folder}" in record.getMessage() for record in caplog.records] == [True]
    caplog.clear()
    assert keys(folder) == EXPECTED
    assert not caplog.records
    rest = region_members(np.random.default_rng(0), 1, first=30)
    write_tar(folder / "scenes-00002.tar", rest)
    os.utime(folder / "scenes-00002.tar", ns=(5, 5))
    assert keys(folder) == [*EXPECTED[:8], "00030"]
    assert len(caplog.records) == 1


def _open(folder, gate, results):
    gate.wait()
    with_log = logging.getLogger("xfm.data.sources.scanned")
    told = []
    handler = logging.Handler()
    handler.emit = told.append  # type: ignore[method-assign]
    with_log.addHandler(handler)
    results.put((keys(folder), len(told)))


def test_processes_that_come_together_scan_once(folder):
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(4), context.Queue()
    running = [context.Process(target=_open, args=(folder, gate, results)) for _ in range(4)]
    for one in running:
        one.start()
    found = [results.get(timeout=60) for _ in running]
    for one in running:
        one.join()
    assert [record for record, _ in found] == [EXPECTED] * 4
    assert sum(told for _, told in found) == 1
