"""Every corpus in the layout in which it is published: what arrives in the shards, what is counted."""

import json
from pathlib import Path

import pytest

from tests.corpora.miniature import (
    MAKERS,
    TEXTS,
    annotations,
    coco,
    folder,
    imagenet,
    jpeg,
    members,
    objects365,
    openimages,
    table,
    texts,
    visual_genome,
    write,
    write_tar,
)
from tests.corpora.preparing import prepared
from tests.refusals import expect_refusal
from xfm.config.corpora import PrepareConfig
from xfm.data.records import SampleKind
from xfm.data.schema import ImageSample
from xfm.data.sources import open_source

KINDS = {
    "coco": ("pair", "region", "image"),
    "vg": ("pair", "region", "image"),
    "cc3m": ("pair", "image"),
    "objects365": ("region", "image"),
    "openimages": ("region", "image"),
    "imagenet": ("image",),
    "c4": ("text",),
    "folder": ("pair", "region", "image"),
}


@pytest.mark.parametrize("corpus", MAKERS)
def test_a_prepared_corpus_is_a_source_of_samples(corpus: str, tmp_path: Path) -> None:
    manifest = prepared(corpus, MAKERS[corpus](tmp_path / "from"), tmp_path / "to", max_bad=3)
    assert manifest.written > 0
    assert manifest.licence or corpus == "folder"
    for kind in KINDS[corpus]:
        source = open_source(tmp_path / "to", kind)
        assert len(source) == manifest.written
        for number in range(len(source)):
            assert source.read(number).origin.shard.startswith(str(tmp_path / "to"))
    assert {path.name for path in (tmp_path).iterdir()} == {"from", "to"}


def test_coco(tmp_path: Path) -> None:
    manifest = prepared("coco", coco(tmp_path / "coco"), tmp_path / "to")
    found = annotations(tmp_path / "to")
    first = found["train2014/COCO_train2014_000000000001.jpg"]
    assert first["captions"] == ["picture 1 said 0", "picture 1 said 1"]
    assert first["regions"] == [
        {"phrase": "cat", "box": [4.5, 5.0, 20.25, 30.0]},
        {"phrase": "dining table", "box": [60.0, 40.0, 4.0, 8.0]},
    ]
    assert manifest.parts == {
        "region clipped": 1,
        "region of a class without name": 1,
        "region of a crowd": 1,
        "region outside its picture": 1,
        "region without area": 1,
    }
    assert manifest.counts["captions"] == 10
    assert manifest.counts["regions"] == 6
    assert jpeg(1) in members(tmp_path / "to").values()  # the bytes as they were


def test_coco_of_two_years_asks_which(tmp_path: Path) -> None:
    source = coco(coco(tmp_path / "coco"), split="train2017")
    with expect_refusal("picture 1 is in train2014 and in train2017", "--splits train2017"):
        prepared("coco", source, tmp_path / "to")
    assert prepared("coco", source, tmp_path / "to", splits=["train2017"], force=True).written == 5
    with expect_refusal("val2014.json", "--splits"):
        prepared("coco", source, tmp_path / "other", splits=["val2014"])


def test_visual_genome(tmp_path: Path) -> None:
    manifest = prepared("vg", visual_genome(tmp_path / "vg"), tmp_path / "to")
    found = annotations(tmp_path / "to")
    assert list(found) == ["1", "2", "3", "4"]
    assert found["2"]["captions"] == ["a large part of it"]
    assert found["1"]["captions"] == ["the clock"]  # nothing is large: the largest that has words
    assert found["2"]["regions"][1:] == [
        {"phrase": "the clock", "box": [50.0, 5.0, 14.0, 20.0]},
        {"phrase": "green tall clock", "box": [5.0, 6.0, 20.0, 30.0]},
        {"phrase": "wall", "box": [0.0, 6.0, 17.0, 30.0]},
    ]
    assert manifest.parts == {
        "region clipped": 8,
        "region outside its picture": 4,
        "region without phrase": 4,
    }
    assert manifest.written == 4  # never the picture


def test_objects365_finds_its_pictures(tmp_path: Path) -> None:
    manifest = prepared("objects365", objects365(tmp_path / "o"), tmp_path / "to")
    assert manifest.written == 3
    (first, *_) = annotations(tmp_path / "to").values()
    assert first["regions"][0] == {"phrase": "Person", "box": [1.12, 2.0, 30.0, 20.0]}


def test_open_images(tmp_path: Path) -> None:
    manifest = prepared("openimages", openimages(tmp_path / "o"), tmp_path / "to")
    cat, dog = annotations(tmp_path / "to").values()
    assert cat["regions"] == [{"phrase": "cat", "box": [16.0, 0.0, 32.0, 24.0]}]
    assert dog["regions"] == [{"phrase": "dog", "box": [6.4, 24.0, 57.6, 24.0]}]
    assert manifest.left_out == {"damaged": 1}  # a row of the boxes
    assert manifest.parts == {"region of a class without name": 1}


def test_imagenet_takes_classes_in_turn(tmp_path: Path) -> None:
    prepared("imagenet", imagenet(tmp_path / "i"), tmp_path / "to")
    classes = [name.split("/")[1] for name in annotations(tmp_path / "to")]
    assert classes == ["n01440764", "n01443537"] * 3
    assert {*annotations(tmp_path / "to")["train/n01440764/n01440764_0.JPEG"]} == {"id"}


def test_texts_of_every_kind(tmp_path: Path) -> None:
    manifest = prepared("c4", texts(tmp_path / "texts"), tmp_path / "to")
    assert sorted(data.decode() for data in members(tmp_path / "to").values()) == sorted(TEXTS)
    assert manifest.left_out == {}
    assert manifest.counts["texts"] == 12


@pytest.mark.parametrize("blank", ["", "\n\n"])
def test_lines_are_read_once_wherever_a_piece_ends(tmp_path: Path, blank: str, monkeypatch) -> None:
    """Pieces of seven bytes: of many lines the beginning, of others nothing."""
    from xfm.corpora.readers import text

    lines = ["", "a", "bb", "ccc ccc ccc ccc ccc ccc ccc", "dddddd", "", "ééééé", "f" * 7, "g"]
    path = write(tmp_path / "a.txt", f"\n{blank}".join(lines))
    reader = text.TextReader(path, PrepareConfig(shard_mb=1), "text")
    monkeypatch.setattr(reader, "_most", 7)
    pieces = [*reader.pieces(tmp_path)]
    assert len(pieces) > 5
    found = [record.text for piece in pieces for record in reader.records(piece, tmp_path)]
    assert found == [line for line in lines if line]


def test_a_folder_of_own_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folder(tmp_path / "own")
    write(source / "alone.jpg", jpeg(611))
    write(source / "clip.mov", b"")
    manifest = prepared("folder", source, tmp_path / "to")
    assert "own: left out 1 .mov (clip.mov)\n" in capsys.readouterr().err
    assert manifest.left_out == {"damaged": 1}
    assert "alone.jpg" in (tmp_path / "to" / "damaged.json").read_text()
    assert annotations(tmp_path / "to")["a/1.jpg"]["captions"] == ["first of 1", "second of 1"]
    sample = open_source(tmp_path / "to", SampleKind.REGION).read(3)
    assert isinstance(sample, ImageSample)
    assert [*sample.regions] == [("the red part", (1, 2, 30, 20))]


def test_a_table_with_a_column_map(tmp_path: Path) -> None:
    prepared("table", table(tmp_path / "t"), tmp_path / "to", columns="image=file,caption=what")
    assert [one["captions"] for one in annotations(tmp_path / "to").values()] == [
        [f"said {2 * number}", f"said {2 * number + 1}"] for number in range(3)
    ]
    with expect_refusal("no column 'image'", "--columns image="):
        prepared("table", tmp_path / "t" / "captions.csv", tmp_path / "other")


# ---------------------------------------------------------------- damaged
def test_damaged_records_of_archives_are_counted_and_named(tmp_path: Path) -> None:
    good = [
        (f"{number}.{end}", data)
        for number in range(4)
        for end, data in (("jpg", jpeg(number)), ("txt", b"a"))
    ]
    whole = jpeg(1, (320, 240), 95)
    odd = [
        ("cut.jpg", jpeg(9)[:300]),
        ("cut.txt", b"a"),
        ("late.jpg", whole[: len(whole) * 8 // 10]),
        ("late.txt", b"a"),
        ("noise.jpg", b"\xff\xd8\xff" + bytes(100)),
        ("noise.txt", b"a"),
        ("json.jpg", jpeg(9)),
        ("json.json", b"{"),
        ("latin.jpg", jpeg(9)),
        ("latin.txt", "é".encode("latin-1")),
        ("silent.jpg", jpeg(9)),
        ("../../etc/passwd.txt", b"a"),
    ]
    write_tar(tmp_path / "from" / "00000.tar", good + odd)
    manifest = prepared("sbu", tmp_path / "from", tmp_path / "to", max_bad=10, max_side=160)
    assert manifest.written == 4
    assert manifest.left_out == {"damaged": 7}
    named = [row["place"] for row in json.loads((tmp_path / "to" / "damaged.json").read_text())]
    keys = ("cut", "late", "noise", "json", "latin", "silent", "../../etc/passwd")
    assert named == [f"00000.tar/{key}" for key in keys]
    with expect_refusal("00000.tar/cut", "--max-bad leaves out 5 at most"):
        prepared("sbu", tmp_path / "from", tmp_path / "other", max_bad=5)
    assert not (tmp_path / "other").exists()
