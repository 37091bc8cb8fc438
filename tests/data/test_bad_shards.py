"""Shards that are missing, cut, damaged or hostile."""

import io
import json
import tarfile
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import picture_bytes, region_members, write_tar
from xfm.data.records import BadRecordError
from xfm.data.sources import open_source, resolve_files
from xfm.data.sources.tar import BLOCK
from xfm.errors import UserError

PICTURE = picture_bytes(np.random.default_rng(0), 40, 30)


def test_missing_shards_are_named(tmp_path, corpus):
    for path, message in [
        (tmp_path / "absent.tar", "absent.tar: no such shard or file"),
        (tmp_path / "part-{000..002}.tar", "part-000.tar: no such shard"),
        (tmp_path / "*.tar", r"\*.tar: no region data there"),
        (tmp_path, "no region data there"),
        (corpus.folder / "tokenizer.json", "unknown ending"),
    ]:
        with pytest.raises(UserError, match=message):
            open_source(path, "region")


def test_a_gap_between_shards_stops(tmp_path):
    rng = np.random.default_rng(0)
    for shard in (0, 2):
        write_tar(tmp_path / f"scenes-{shard:05d}.tar", region_members(rng, 1))
        write_tar(tmp_path / f"others-{shard // 2:05d}.tar", region_members(rng, 1))
    for path in (tmp_path, tmp_path / "*.tar", tmp_path / "scenes-*.tar"):
        with pytest.raises(UserError, match=r"a file is missing between .*scenes-00000 and 00002; download"):
            open_source(path, "region")
    assert len(open_source(tmp_path / "others-*.tar", "region")) == 2
    with pytest.raises(UserError, match=r"scenes-00001.tar: no such shard"):
        open_source(tmp_path / "scenes-{00000..00002}.tar", "region")


@pytest.mark.parametrize("lost", ["scenes-00000.tar", "scenes-00002.tar", "singles-00000.tar"])
def test_a_shard_of_a_world_is_missed(tmp_path, lost):
    """The first and the last leave no gap."""
    names = [f"scenes-{n:05d}.tar" for n in range(3)] + ["singles-00000.tar"]
    (tmp_path / "pretrain").mkdir()
    for name in names:
        write_tar(tmp_path / "pretrain" / name, region_members(np.random.default_rng(0), 1))
    files = {f"pretrain/{name}": {} for name in names} | {"tasks/vqa/seen.jsonl": {}}
    (tmp_path / "world.json").write_text(json.dumps({"files": files}))
    folder = tmp_path / "pretrain"
    assert [len(open_source(path, "region")) for path in (folder, folder / "scenes-*.tar")] == [4, 3]
    (folder / lost).unlink()
    for path in (folder, folder / f"{lost[:7]}*.tar"):
        with pytest.raises(UserError, match=rf"{lost}: the file is missing; build its world again"):
            open_source(path, "region")
    for text in ("[]", '{"files": 3}', "{"):  # not ours to judge
        (tmp_path / "world.json").write_text(text)
        assert len(resolve_files(folder)) == 3


@pytest.mark.parametrize("keep", [0, 100, BLOCK, 3 * BLOCK + 17, -2 * BLOCK])
def test_truncated_shards_are_named(tmp_path, keep):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for i in range(3):
            info = tarfile.TarInfo(f"{i}.txt")
            info.size = 600
            tar.addfile(info, io.BytesIO(b"t" * 600))
    data = (tmp_path / "a.tar").read_bytes().rstrip(b"\0") + bytes(BLOCK)  # less the padding of the archive
    whole = 3 * 3 * BLOCK
    cut = data[:whole] if keep < 0 else data[:keep]
    (tmp_path / "cut-00000.tar").write_bytes(cut)
    with pytest.raises(UserError, match=r"cut-00000.tar: the shard is truncated.*prepare it again"):
        open_source(tmp_path / "cut-00000.tar", "text")


def test_other_broken_shards(tmp_path, make_tar):
    (tmp_path / "noise.tar").write_bytes(np.random.default_rng(0).bytes(4096))
    with pytest.raises(UserError, match=r"noise.tar: not a tar header at byte 0"):
        open_source(tmp_path / "noise.tar", "text")
    with pytest.raises(UserError, match="holds no text records"):
        open_source(make_tar({"a.bin": b"x"}), "text")
    path = make_tar({"a.jpg": PICTURE, "a.png": PICTURE})
    with pytest.raises(UserError, match="key a has two members of a kind"):
        open_source(path, "image")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(UserError, match=r"empty.jsonl: the file holds no rows"):
        open_source(tmp_path / "empty.jsonl", "text")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match="holds no rows"):
        open_source(tmp_path / "empty.jsonl", "text")


def with_pax(path, fields: bytes, name: str = "a.txt", kind: bytes = b"x"):
    """A tar of one member, "abc", after a header with fields."""

    def member(name: str, data: bytes, kind: bytes) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.type = len(data), kind
        return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)

    path.write_bytes(member("x", fields, kind) + member(name, b"abc", tarfile.REGTYPE) + bytes(2 * BLOCK))
    return path


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        (b"1" * 5000 + b" path=x\n", 0),  # too long for int()
        (b"99 path=x\n", 0),
        (b"0 path=x\n", 0),
        (b"-9 path=x\n", 0),
        (b"path=x\n", 0),
        (b"11 size=-5\n", 2 * BLOCK),
        (b"11 size=1x\n", 2 * BLOCK),
        (b"6 a=b\n" * 200_000, 0),  # more than any field needs
    ],
)
def test_hostile_pax_headers(tmp_path, fields, place):
    path = with_pax(tmp_path / "a.tar", fields)
    with pytest.raises(UserError, match=f"a.tar: not a tar header at byte {place};"):
        open_source(path, "text")


def test_many_pax_fields_take_no_time(tmp_path):
    path = with_pax(tmp_path / "a.tar", b"6 a=b\n" * 170_000 + b"14 path=b.txt\n")
    began = time.perf_counter()
    assert open_source(path, "text").read(0).origin.key == "b"
    assert time.perf_counter() - began < 5  # a minute when every field copied the rest


def test_a_long_name_has_an_end(tmp_path):
    with pytest.raises(UserError, match="not a tar header at byte 0"):
        open_source(with_pax(tmp_path / "a.tar", b"n" * (2 << 20), kind=b"L"), "text")


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


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_shards_never_do_worse_than_an_error(tmp_path_factory, data):
    path = write_tar(tmp_path_factory.mktemp("tar") / "a.tar", {"a.txt": b"one", "b.txt": b"two" * 300})
    damaged = bytearray(path.read_bytes()[: 5 * BLOCK])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from([0, 124, 136, 148, 156, 257, BLOCK])) + data.draw(
            st.integers(0, 20)
        )
        damaged[place] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        source = open_source(path, "text")
        for index in range(len(source)):
            source.read(index)
    except (UserError, BadRecordError) as error:
        message = str(error)
    else:
        return
    assert "a.tar" in message
