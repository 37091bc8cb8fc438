"""Stores for the tests of sources."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import region_members, write_tar
from tests.data.sources.store_servers import Bucket, WebStore, s3_server, web_store


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    pytest.importorskip("moto")
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    found = Bucket(s3_endpoint, f"bucket-{abs(hash(tmp_path))}")
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    _forget()
    yield found
    _forget()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XFM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def web(tmp_path: Path, cache: Path) -> Iterator[WebStore]:
    (tmp_path / "served").mkdir()
    with web_store(tmp_path / "served") as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, cache: Path) -> Path:
    """Three shards of four records each."""
    (tmp_path / "shards").mkdir()
    for shard in range(3):
        members = region_members(np.random.default_rng(shard), 4, first=10 * shard, size=(24, 24))
        write_tar(tmp_path / "shards" / f"scenes-{shard:05d}.tar", members)
    return tmp_path / "shards"


def _forget() -> None:
    from xfm.data.sources import stores

    stores._opened.cache_clear()
