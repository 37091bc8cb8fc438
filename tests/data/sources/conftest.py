"""Stores for the tests of sources."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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


def _forget() -> None:
    from xfm.data.sources import stores

    stores._opened.cache_clear()
