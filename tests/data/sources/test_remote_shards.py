"""Shards at addresses: the records of the same shards on a disk, with an index or without; or a sentence."""

import gc
import pickle
import sys

import numpy as np
import pytest

from tests.alike import thorough
from tests.data.conftest import region_members, write_tar
from tests.processes import run
from tests.refusals import expect_refusal
from xfm.config.data import RemoteConfig
from xfm.core.errors import UserError
from xfm.core.paths import cache_folder
from xfm.data.records import BadRecordError
from xfm.data.sources import open_source
from xfm.data.sources.remote import reader_of
from xfm.data.sources.shard_index import INDEX, index_folder

REMOTE = RemoteConfig(cache_mb=64, patience=5.0)


def records_of(source):
    found = []
    for number in range(len(source)):
        record = source.record(number)
        found.append((record.origin.key, record.picture, record.annotation))
    return found


def opened(address, kind="pair"):
    gc.collect()  # what an error still holds would be open, and keep its version
    return open_source(address, kind, remote=REMOTE)


def failures_of(source):
    found = []
    for number in range(len(source)):
        try:
            source.record(number)
        except BadRecordError as error:
            found.append(error.reason)
    return found


@pytest.fixture
def served(folder, web):
    web.folder = folder.parent
    return f"{web.address}/shards"


def index(folder):
    index_folder(folder, sorted(folder.glob("*.tar")), progress=False)


# ------------------------------------------------------------------ the same records
@pytest.mark.parametrize(
    ("indexed", "name"),
    [(True, "."), (False, "scenes-{00001..00002}.tar"), (True, "scenes-0000[12].tar"), (False, ".")],
)
def test_s3(folder, bucket, indexed, name):
    local = records_of(open_source(folder / name, "pair"))
    if indexed:
        index(folder)
    address = bucket.upload(folder, "pretrain/shards")
    source = opened(address if name == "." else f"{address}/{name}")
    assert records_of(source) == local
    assert records_of(pickle.loads(pickle.dumps(source))) == local
    assert source.record(0).origin.shard.startswith("s3://")


@pytest.mark.parametrize(("indexed", "name"), [(True, "."), (False, "scenes-{00000..00002}.tar")])
def test_web_server(folder, served, indexed, name):
    local = records_of(open_source(folder / name, "pair"))
    if indexed:
        index(folder)
    assert records_of(opened(served if name == "." else f"{served}/{name}")) == local


def test_shards_without_an_index_are_read_once(folder, served, web, caplog):
    """By whichever process comes first; the next one, or run, finds what it has kept."""
    expected = records_of(opened(f"{served}/scenes-{{00000..00002}}.tar"))
    assert "3 shards without an index" in caplog.text
    before = len(web.asked)
    assert records_of(opened(f"{served}/scenes-{{00000..00002}}.tar")) == expected
    assert len(web.asked) - before <= 4, "the three shards and the index are looked at"
    write_tar(folder / "scenes-00001.tar", region_members(np.random.default_rng(9), 5, size=(24, 24)))
    assert len(opened(f"{served}/scenes-{{00000..00002}}.tar")) == 13


HUB = (
    "from xfm.data.sources import open_source\n"
    "source = open_source('hf://datasets/owner/name/shards', 'pair')\n"
    "print([source.record(number).origin.key for number in range(len(source))])\n"
)


@thorough
def test_hub(folder, web, cache):
    """The client of the hub asks a server of this machine, and reads all at the commit that it found."""
    index(folder)
    web.folder = folder
    extra = {"HF_ENDPOINT": web.address, "XFM_CACHE": str(cache), "HF_HUB_OFFLINE": None}
    ended = run([sys.executable, "-c", HUB], fresh=True, **extra)
    keys = [key for key, _, _ in records_of(open_source(folder, "pair"))]
    assert ended.out.strip() == str(keys), ended.err
    read = [path for path, said in web.asked if said]
    assert read
    assert all(path.startswith(f"/datasets/owner/name/resolve/{web.commit}/") for path in read)


# ------------------------------------------------------------------ what is refused
@thorough
def test_what_is_missing(folder, bucket):
    index(folder)
    address = bucket.upload(folder, "shards")
    bucket.delete("shards/scenes-00001.tar")
    for name in ("", "/*.tar", "/scenes-{00000..00002}.tar", "/scenes-00001.tar"):
        with expect_refusal(f"{address}/scenes-00001.tar: the shard is missing"):
            opened(f"{address}{name}")
    bucket.delete(f"shards/{INDEX}")
    with expect_refusal(f"{address}: a file is missing between scenes-00000 and 00002"):
        opened(address)
    with expect_refusal(f"{address}/x*.tar", "no shards there"):
        opened(f"{address}/x*.tar")
    with expect_refusal(f"{address}x/*.tar", "No such file"):
        opened(f"{address}x/*.tar")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://user:pa/SECRET@example.org/a.tar", ["https://...", "password"]),
        ("https://example.org/a.tar?Signature=SECRET", ["https://...", "query"]),
        ("s3://key:SE/CRET@bucket/a.tar", ["s3://...", "password"]),
        ("https://example.org/{0..999999999}.tar", ["more than 10,000,000"]),
        ("http://[::1/a.tar", ["http://[::1/a.tar", "no address"]),
        ("https://example.org/data.jsonl", [".tar shards are read"]),
        ("s3://bucket/*/a.tar", ["names of shards only"]),
    ],
)
def test_addresses_that_are_not_read(address, words, cache):
    with pytest.raises(UserError) as caught:
        opened(address)
    assert [word for word in (*words, "SECRET", "CRET@") if word in str(caught.value)] == words


# ------------------------------------------------------------------ what changes while it is read
@thorough
def test_a_shard_that_is_replaced(folder, bucket):
    """Of those that were read before, what is kept is still that version; the others are bad records."""
    address = bucket.upload(folder, "shards")
    source, local = opened(address), records_of(open_source(folder, "pair"))
    fresh = open_source(f"{address}/*.tar", "pair", remote=RemoteConfig(cache_mb=0, patience=5.0))
    other = write_tar(folder / "other", region_members(np.random.default_rng(9), 4, first=10, size=(24, 24)))
    bucket.put("shards/scenes-00001.tar", other.read_bytes())
    bucket.delete("shards/scenes-00002.tar")
    assert records_of(source) == local
    reader_of(RemoteConfig(cache_mb=0, patience=5.0), cache_folder() / "remote")._blocks.clear()
    reasons = failures_of(fresh)
    assert ["changed after it had been opened" in reason for reason in reasons] == [True] * 4 + [False] * 4
    assert all("No such file" in reason for reason in reasons[4:])
