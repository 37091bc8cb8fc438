"""Shards that are missing, cut, damaged or hostile."""

import tarfile
import time

import numpy as np
import pytest

from tests.data.conftest import PICTURE, region_members, write_tar
from tests.refusals import expect_refusal
from xfm.core.errors import UserError
from xfm.data.records import BadRecordError
from xfm.data.sources import open_source
from xfm.data.sources.tar import BLOCK


def test_a_gap_between_shards_stops(tmp_path):
    rng = np.random.default_rng(0)
    for shard in (0, 2):
        write_tar(tmp_path / f"scenes-{shard:05d}.tar", region_members(rng, 1))
        write_tar(tmp_path / f"others-{shard // 2:05d}.tar", region_members(rng, 1))
    for path in (tmp_path, tmp_path / "*.tar", tmp_path / "scenes-*.tar"):
        with expect_refusal("a file is missing between ", "scenes-00000 and 00002"):
            open_source(path, "region")
    assert len(open_source(tmp_path / "others-*.tar", "region")) == 2
    with expect_refusal("scenes-00001.tar: no such shard"):
        open_source(tmp_path / "scenes-{00000..00002}.tar", "region")


def with_pax(path, fields: bytes, kind: bytes = b"x"):
    def member(name: str, data: bytes, kind: bytes) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.type = len(data), kind
        return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)

    path.write_bytes(member("x", fields, kind) + member("a.txt", b"abc", tarfile.REGTYPE) + bytes(2 * BLOCK))
    return path


def test_many_pax_fields_take_no_time(tmp_path):
    path = with_pax(tmp_path / "a.tar", b"6 a=b\n" * 170_000 + b"14 path=b.txt\n")
    began = time.process_time()
    assert open_source(path, "text").read(0).origin.key == "b"
    assert time.process_time() - began < 5  # a minute when every field copied the rest


def test_names_do_not_reach_the_terminal_as_they_are(make_tar):
    source = open_source(make_tar({"\x1b[2Ja\nb.jpg": PICTURE, "\x1b[2Ja\nb.json": b"{"}), "pair")
    assert len(source) == 1  # one key, line break or not
    with pytest.raises(BadRecordError) as caught:
        source.read(0)
    assert caught.value.origin.key == "\x1b[2Ja\nb"
    assert str(caught.value).isprintable()
    assert r"shard-00000.tar:\x1b[2Ja\nb: the JSON is invalid" in str(caught.value)
    with pytest.raises(UserError) as refused:
        open_source(make_tar({"\x1b[2J.jpg": PICTURE, "\x1b[2J.png": PICTURE}), "image")
    assert str(refused.value).isprintable()
