"""Shards at addresses: the records of the same shards on a disk, with an index or without; or a sentence."""

import gc
import pickle
import sys

import numpy as np
import pytest

from tests.data.conftest import region_members, write_tar
from tests.processes import run
from tests.refusals import expect_refusal
from xfm.config.data import CorpusConfig, RemoteConfig
from xfm.core.errors import UserError
from xfm.data.records import BadRecordError
from xfm.data.sources import open_source
from xfm.data.sources.remote import reader_of
from xfm.data.sources.shard_index import INDEX, index_folder

REMOTE = RemoteConfig(cache_mb=64, patience=5.0)
NAMES = (".", "*.tar", "scenes-00001.tar", "scenes-{00001..00002}.tar", "scenes-0000[12].tar")
SPELT = ("scenes-00001.tar", "scenes-{00000..00002}.tar")


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
def folder(tmp_path, cache):
    (tmp_path / "shards").mkdir()
    for shard in range(3):
        members = region_members(np.random.default_rng(shard), 4, first=10 * shard, size=(24, 24))
        write_tar(tmp_path / "shards" / f"scenes-{shard:05d}.tar", members)
    return tmp_path / "shards"


@pytest.fixture
def served(folder, web):
    web.folder = folder.parent
    return f"{web.address}/shards"


def index(folder):
    index_folder(folder, sorted(folder.glob("*.tar")), progress=False)


# ------------------------------------------------------------------ the same records
@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_s3(folder, bucket, indexed, name):
    local = records_of(open_source(folder / name, "pair"))
    if indexed:
        index(folder)
    address = bucket.upload(folder, "pretrain/shards")
    source = opened(address if name == "." else f"{address}/{name}")
    assert records_of(source) == local
    assert records_of(pickle.loads(pickle.dumps(source))) == local
    assert source.record(0).origin.shard.startswith("s3://")


@pytest.mark.parametrize(("indexed", "name"), [*((True, n) for n in NAMES), *((False, n) for n in SPELT)])
def test_web_server(folder, served, indexed, name):
    local = records_of(open_source(folder / name, "pair"))
    if indexed:
        index(folder)
    assert records_of(opened(served if name == "." else f"{served}/{name}")) == local


def test_texts_among_pictures(tmp_path, web):
    write_tar(web.folder / "a.tar", {f"{i}.{'txt' if i % 3 else 'jpg'}": b"text" for i in range(9)})
    assert records_of(opened(f"{web.address}/a.tar", "text")) == records_of(
        open_source(web.folder / "a.tar", "text")
    )


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


def test_what_is_missing_on_a_web_server(folder, served):
    for name in ("", "/*.tar"):
        with expect_refusal("does not list its files", served, "xfm data index"):
            opened(f"{served}{name}")
    with expect_refusal(f"{served}/scenes-00003.tar", "No such file"):
        opened(f"{served}/scenes-{{00000..00003}}.tar")
    index(folder)
    with expect_refusal(f"{served}/x*.tar", "has no such shard"):
        opened(f"{served}/x*.tar")


def test_an_index_that_does_not_fit(folder, bucket):
    index(folder)
    address = bucket.upload(folder, "shards")
    bucket.put("shards/scenes-00001.tar", bytes(1024))
    with expect_refusal(f"{address}/scenes-00001.tar", "1024 bytes and was indexed with", "upload both"):
        opened(address)
    bucket.put("shards/scenes-00003.tar", (folder / "scenes-00001.tar").read_bytes())
    with expect_refusal(f"{address}/scenes-00003.tar: the shard is not in {address}/{INDEX}", "upload both"):
        opened(address)
    bucket.put(f"shards/{INDEX}", b"no index" + bytes(500))
    with expect_refusal(f"{address}/{INDEX}", "damaged"):
        opened(address)


def test_a_shard_that_is_no_tar(web):
    (web.folder / "a.tar").write_bytes(b"x" * 5000)
    with expect_refusal(f"{web.address}/a.tar: not a tar header at byte 0"):
        opened(f"{web.address}/a.tar")
    (web.folder / "b.tar").write_bytes(b"")
    with expect_refusal(f"{web.address}/b.tar"):
        opened(f"{web.address}/b.tar")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://user:SECRET@example.org/a.tar", ["http://...", "password"]),
        ("https://user:pa/SECRET@example.org/a.tar", ["https://...", "password"]),
        ("https://user:p@SECRET/w@example.org/a.tar", ["https://...", "password"]),
        ("https://example.org/a.tar?Signature=SECRET", ["https://...", "query"]),
        ("HTTPS://example.org/a.tar?Signature=SECRET", ["HTTPS://...", "query"]),
        ("s3://bucket/a.tar?Signature=SECRET", ["s3://...", "query"]),
        ("s3://key:SE/CRET@bucket/a.tar", ["s3://...", "password"]),
        ("https://example.org/{0..999999999}.tar", ["more than 10,000,000"]),
        ("https://example.org/{0..99999}/{0..999999999}/a.tar", ["names of shards only"]),
        ("http://[::1/a.tar", ["http://[::1/a.tar", "no address"]),
        ("s3://key:SECRET@bucket/a.tar", ["s3://...", "password"]),
        ("https://example.org/data.jsonl", [".tar shards are read"]),
        ("s3://bucket/*/a.tar", ["names of shards only"]),
        ("gs://bucket/a.tar", ["not from gs"]),
    ],
)
def test_addresses_that_are_not_read(address, words, cache):
    with pytest.raises(UserError) as caught:
        opened(address)
    assert [word for word in (*words, "SECRET", "CRET@") if word in str(caught.value)] == words


def test_a_recipe_keeps_no_secret():
    with pytest.raises(ValueError, match="password") as caught:
        CorpusConfig("https://user:SECRET@example.org/a.tar")
    assert "SECRET" not in str(caught.value)
    for path in ("s3://bucket/dir/part-?.tar", "hf://datasets/owner/name@main/a.tar", "dir/a@b?c=d.tar"):
        assert CorpusConfig(path).path == path


# ------------------------------------------------------------------ what changes while it is read
def test_a_shard_that_is_replaced(folder, bucket):
    """Of those that were read before, what is kept is still that version; the others are bad records."""
    address = bucket.upload(folder, "shards")
    source, local = opened(address), records_of(open_source(folder, "pair"))
    fresh = open_source(f"{address}/*.tar", "pair", remote=RemoteConfig(cache_mb=0, patience=5.0))
    other = write_tar(folder / "other", region_members(np.random.default_rng(9), 4, first=10, size=(24, 24)))
    bucket.put("shards/scenes-00001.tar", other.read_bytes())
    bucket.delete("shards/scenes-00002.tar")
    assert records_of(source) == local
    reader_of(RemoteConfig(cache_mb=0, patience=5.0))._blocks.clear()
    reasons = failures_of(fresh)
    assert ["changed after it had been opened" in reason for reason in reasons] == [True] * 4 + [False] * 4
    assert all("No such file" in reason for reason in reasons[4:])
