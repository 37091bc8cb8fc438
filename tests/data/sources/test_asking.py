"""Stores that fail, are slow, refuse or change: the right bytes, or one sentence, and no secrets in it."""

import random
import sys
import time

import pytest

from tests.alike import some
from tests.data.sources.store_servers import web_store
from tests.refusals import expect_refusal
from xfm.core.errors import UserError
from xfm.data.sources import stores
from xfm.data.sources.stores import RefusedError, asked

DATA = random.Random(0).randbytes(50_000)


def find(url, patience=20.0):
    return asked(url, lambda store: store.find(url), patience)


def read(file, start, end, patience=20.0):
    return asked(file.url, lambda store: store.read(file, start, end), patience)


@pytest.fixture
def address(web):
    (web.folder / "a b.tar").write_bytes(DATA)
    return f"{web.address}/a b.tar"


# ------------------------------------------------------------------ what may pass
@pytest.mark.parametrize("fault", some(["cut", 503], 2))
def test_faults_that_pass(web, address, fault):
    web.fault = lambda number: fault if number % 3 < 2 else None
    file = find(address)
    assert read(file, 100, 30_000) == DATA[100:30_000]
    assert len(web.asked) >= 3


def test_a_server_that_begins_late(web, address):
    port, folder = web.server_address[1], web.folder
    file = find(address)
    web.fault = lambda number: "hung up"  # connections that are kept outlive the server's end
    web.shutdown()
    web.server_close()
    begun = time.monotonic()
    with expect_refusal(address, "for 1 seconds now", "data.remote.patience"):
        read(file, 0, 10, patience=1)
    assert time.monotonic() - begun < 10
    with web_store(folder, port):
        assert read(file, 0, 10) == DATA[:10]


# ------------------------------------------------------------------ what does not
def test_refusals_are_final(web, address):
    web.fault = lambda number: 403
    with expect_refusal(address, "HTTP 403", "your rights", kind=RefusedError):
        find(address)
    assert len(web.asked) == 1


def test_a_server_without_ranges(web, address):
    web.fault = lambda number: "whole"
    with expect_refusal(address, "no ranges of bytes"):
        find(address)


def test_no_secrets_are_said(web, address, caplog):
    """The signed address that a server redirects to stands in no sentence, and in no warning."""
    web.fault = lambda number: f"{web.address}/x?Signature=SECRET" if number % 2 == 0 else 503
    with pytest.raises(UserError) as caught:
        find(address, patience=4)
    web.fault = lambda number: "http://user:SECRET@127.0.0.1:1/x?Signature=SECRET"
    with pytest.raises(UserError) as other:
        find(address, patience=1)
    assert address in str(caught.value)
    assert address in str(other.value)
    assert caplog.records
    assert "SECRET" not in f"{caught.value} {other.value} {caplog.text}"


# ------------------------------------------------------------------ what changes
@pytest.mark.parametrize("conditions", [True, False])
@pytest.mark.parametrize("size", [50_000, 60_000])
def test_a_file_that_is_replaced_on_a_web_server(web, address, conditions, size):
    file = find(address)
    web.conditions = conditions
    (web.folder / "a b.tar").write_bytes(random.Random(2).randbytes(size))
    for start in (0, 45_000):
        with pytest.raises(OSError, match="changed after it had been opened"):
            read(file, start, start + 10)


@pytest.mark.parametrize(("scheme", "library"), [("s3", "s3fs"), ("http", "aiohttp")])
def test_a_library_that_is_missing(monkeypatch, scheme, library):
    """One sentence names the extra; what else fsspec knows of it is not said."""
    stores._opened.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in (library, "fsspec")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with expect_refusal(f"{scheme}:// needs {library}", "pip install 'xfm[remote]'"):
        find(f"{scheme}://somewhere/a.tar")
    stores._opened.cache_clear()
