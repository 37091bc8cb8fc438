"""Sources: random access to every layout, and files that are missing, cut or hostile."""

import json
import os
import pickle
import tarfile
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import PICTURE, picture_bytes, region_members, write_tar
from tests.refusals import expect_refusal
from xfm.core.errors import UserError
from xfm.data.records import BadRecordError, SampleKind
from xfm.data.schema import ImageSample, TextSample
from xfm.data.sources import open_source, plain_files, resolve_files
from xfm.data.sources.base import StoredFile
from xfm.data.sources.plain_files import FolderSource
from xfm.data.sources.tar import BLOCK, scan_members

REGION = {"captions": ["a cat"], "regions": [{"phrase": "cat", "box": [0, 0, 9, 9]}]}
MEMBER_NAMES = st.text(st.sampled_from("ab/._é"), min_size=1, max_size=130)


def test_one_shard_gives_every_kind(corpus):
    path = corpus.folder / "scenes-00001.tar"
    with tarfile.open(path) as tar:
        expected = {m.name: tar.extractfile(m).read() for m in tar}
    source = open_source(path, "region")
    assert len(source) == 20
    for index in (0, 7, 19, 7):
        sample = source.read(index)
        assert isinstance(sample, ImageSample)
        assert sample.origin.shard == str(path)
        annotation = json.loads(expected[f"{sample.origin.key}.json"])
        assert sample.captions == tuple(annotation["captions"])
        assert [list(box) for _, box in sample.regions] == [r["box"] for r in annotation["regions"]]
        assert source.record(index).picture == expected[f"{sample.origin.key}.jpg"]
    assert isinstance(open_source(path, "pair").read(3), ImageSample)
    assert isinstance(open_source(path, "image").read(3), ImageSample)


def test_folders_patterns_and_ranges(corpus):
    folder = corpus.folder
    for path in (folder / "scenes-*.tar", folder / "scenes-{00000..00001}.tar"):
        source = open_source(path, "region")
        assert len(source) == 40
        keys = [source.read(i).origin.key for i in (0, 19, 20, 39)]
        assert keys == ["00000", "00019", "00020", "00039"]
        assert torch.equal(pickle.loads(pickle.dumps(source)).read(25).pixels, source.read(25).pixels)
    assert [p.name for p in resolve_files(folder)] == ["scenes-00000.tar", "scenes-00001.tar", "text.jsonl"]
    assert isinstance(open_source(folder / "text.jsonl", "text").read(39), TextSample)


def test_json_lines_with_pictures(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(PICTURE)
    row = json.dumps({"image": "images/a.jpg", **REGION, "caption": "naïve 猫"}, ensure_ascii=False)
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{row}\r\n\r\n  \n{row}".encode())
    source = open_source(tmp_path / "rows.jsonl", "region")
    assert len(source) == 2
    assert [source.read(i).origin.key for i in range(2)] == ["1", "4"]  # line numbers
    assert source.read(1).pixels.shape == (3, 30, 40)
    assert len(open_source(tmp_path, "image")) == 2


def test_folder_of_pictures(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("z.PNG", ".hidden.png", "b/a.jpg", "b/notes.txt"):
        format = "JPEG" if name.endswith("jpg") else "PNG"
        (tmp_path / name).write_bytes(picture_bytes(np.random.default_rng(0), 8, 8, format))
    source = open_source(tmp_path, SampleKind.IMAGE)
    assert isinstance(source, FolderSource)
    assert [source.read(i).origin.key for i in range(len(source))] == ["b/a.jpg", "z.PNG"]
    assert source.report == f"{tmp_path}: left out 1 .txt (b/notes.txt), 1 hidden (.hidden.png)"
    with expect_refusal("no pair data there"):
        open_source(tmp_path, SampleKind.PAIR)


@settings(max_examples=25)
@given(st.dictionaries(MEMBER_NAMES, st.binary(max_size=1500)))
def test_scan_equals_tarfile(tmp_path_factory, members):
    path = write_tar(tmp_path_factory.mktemp("tar") / "a.tar", members)
    with tarfile.open(path) as tar:
        expected = [(m.name.strip("/"), m.offset_data, m.size) for m in tar]
    found = [(name.strip("/"), offset, size) for name, offset, size, _ in scan_members(StoredFile.of(path))]
    assert found == expected


# ------------------------------------------------------------------ bad records
@pytest.mark.parametrize(
    ("row", "limits", "reason"),
    [
        ({"image": 3}, {}, '"image" is missing or not a path'),
        ({"image": "../a.jpg"}, {}, '"image" is not a path below the folder of the file'),
        ({"image": "link.jpg"}, {}, '"image" is not a path below the folder of the file'),
        ({"image": "pipe.jpg"}, {}, r"pipe.jpg .*not a file"),
        ({"image": "a.jpg"}, {"MAX_ANNOTATION": 20}, "the row has .* bytes, more than the limit of 20"),
    ],
)
def test_rows_that_are_no_record(tmp_path, monkeypatch, row, limits, reason):
    for name, limit in limits.items():
        monkeypatch.setattr(plain_files, name, limit)
    (tmp_path / "a.jsonl").write_text(json.dumps({"caption": "a", **row}))
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    (tmp_path / "link.jpg").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadRecordError, match=reason) as caught:
        open_source(tmp_path / "a.jsonl", "pair").read(0)
    assert caught.value.origin.key == "1"


# ---------------------------------------------------------------- shards that are missing, cut or hostile
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


def with_pax(path, fields: bytes):
    def member(name: str, data: bytes, kind: bytes) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.type = len(data), kind
        return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)

    path.write_bytes(member("x", fields, b"x") + member("a.txt", b"abc", tarfile.REGTYPE) + bytes(2 * BLOCK))
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
