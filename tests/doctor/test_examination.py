"""What was planted in a data set is found, and counted exactly."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from tests.alike import thorough
from tests.corpora.miniature import jpeg, write
from tests.data.picture_kinds import saved
from tests.data.sources.store_servers import web_store
from tests.doctor.planted import (
    SIZE,
    bomb,
    boxed,
    counts,
    cut,
    examined,
    flat,
    good,
    write_lines,
    write_shards,
)
from tests.refusals import expect_refusal
from xfm.cli.main import main
from xfm.config.corpora import RecordKind
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.corpora.doctor.examination import examine
from xfm.data.records import BadRecordError
from xfm.data.sources import open_source


def image(size: tuple[int, int], seed: int = 1) -> Image.Image:
    return Image.open(io.BytesIO(jpeg(seed, size)))


# ---------------------------------------------------------------- nothing wrong
def test_of_good_records_nothing_is_found(tmp_path: Path) -> None:
    rows = [good(number, **boxed([5, 6, 40, 30])) for number in range(7)]
    found = examined(write_shards(tmp_path / "data", rows))
    assert (found.status, found.read, found.kind, counts(found)) == (0, 7, "region", {})
    assert found.spreads["phrases of a picture"]["count"] == 7
    assert found.spreads["width in pixels"]["from"] == {"120": 7}
    assert found.verdict == "Training may start: nothing is wrong with 7 records."


@thorough
def test_shards_of_a_server_are_examined_as_those_of_a_disk(tmp_path: Path, monkeypatch) -> None:
    """By the processes that help, too."""
    monkeypatch.setenv("XFM_CACHE", str(tmp_path / "cache"))
    rows = [good(number, **boxed([5, 6, 40, 30])) for number in range(7)]
    folder = write_shards(tmp_path / "data", rows)
    here = examined(folder)
    last = max(path.stem for path in folder.glob("*.tar")).removeprefix("part-")
    with web_store(folder) as web:
        there = examine(f"{web.address}/part-{{00000..{last}}}.tar", tmp_path / "report")
    assert (there.status, there.read, there.kind) == (here.status, here.read, here.kind)
    assert there.spreads == here.spreads


# ---------------------------------------------------------------- pictures
PICTURES = {
    "undecodable_picture": [b"no picture", jpeg(1, SIZE)[:40], b"", bomb(), cut(2)],
    "picture_of_one_colour": [flat(), flat(40)],
    "small_picture": [jpeg(4, (40, 20)), saved(image((20, 40)), "PNG")],
    "long_picture": [jpeg(5, (700, 50))],
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_damaged_or_odd_picture_is_found(name: str, tmp_path: Path) -> None:
    for number, data in enumerate([jpeg(100, SIZE), *PICTURES[name], saved(image(SIZE, 101), "PNG")]):
        write(tmp_path / "data" / f"{number}.jpg", data)
    found = examined(tmp_path / "data", near_duplicates=False)
    wrong = len(PICTURES[name])
    assert counts(found) == {name: (wrong, wrong)}
    assert (found.kind, found.read, found.status) == ("image", wrong + 2, 1)
    out = name == "undecodable_picture"
    assert (found.left_out, found.hurt) == ((wrong, 0) if out else (0, wrong))


@thorough
def test_what_is_left_out_is_what_training_leaves_out(tmp_path: Path) -> None:
    """Record for record, for each kind."""
    rows = [
        good(1, **boxed([1, 2, 30, 40])),
        good(2, **boxed([1, 2, 300, 40])),
        (cut(3), {"captions": ["cut"]}),
        (jpeg(4, SIZE)[:60], {"captions": ["gone"]}),
        (jpeg(5, SIZE), {"captions": ["..."]}),
        (jpeg(6, SIZE), {"captions": "one alone"}),
        (jpeg(7, SIZE), {"captions": 7}),
        (jpeg(8, SIZE), {"captions": ["a", None]}),
        (jpeg(9, SIZE), {"text": "a text"}),
        (jpeg(10, SIZE), {"regions": {"phrase": "x"}}),
        (jpeg(11, SIZE), {"regions": [{"phrase": "", "box": [1, 1, 9, 9]}]}),
        (jpeg(12, SIZE), {"regions": [{"phrase": "half", "box": [1, 1, "9", 9]}]}),
        (jpeg(13, SIZE), {"regions": ["none"], "captions": ["x y"]}),
        (jpeg(14, SIZE), {"text": "\ud800"}),
    ]
    path = write_lines(tmp_path / "data", rows)
    for kind in (RecordKind.TEXT, RecordKind.IMAGE, RecordKind.PAIR, RecordKind.REGION):
        source, bad = open_source(path, kind.value), 0
        for number in range(len(source)):
            try:
                source.read(number)
            except BadRecordError:
                bad += 1
        found = examined(path, tmp_path / kind.value, kind=kind)
        assert (found.left_out, found.read) == (bad, len(rows)), kind


# ---------------------------------------------------------------- boxes
BOXES = {
    "box_outside": [[100, 10, 60, 20], [500, 500, 5, 5], [-9, 0, 20, 20]],
    "degenerate_box": [[5, 5, 0, 10], [5, 5, 10, -2]],
    "wrong_box": [[1, 2, 3], "box", [1, 2, 3, float("nan")], None, [1, 2, True, 4]],
    "tiny_box": [[5, 5, 1, 30], [5, 5, 0.5, 0.5]],
    "box_of_the_whole_picture": [[0, 0, *SIZE]],
}


@pytest.mark.parametrize("name", BOXES)
def test_a_wrong_box_is_found(name: str, tmp_path: Path) -> None:
    rows = [good(1, **boxed([5, 6, 40, 30], *BOXES[name])), good(2, **boxed([5, 6, 40, 30]))]
    found = examined(write_lines(tmp_path / "data", rows))
    assert counts(found) == {name: (len(BOXES[name]), 1)}
    assert found.status == (0 if name == "box_of_the_whole_picture" else 1)


def test_boxes_of_a_table_are_read_as_the_options_say(tmp_path: Path) -> None:
    write(tmp_path / "1.jpg", jpeg(1, SIZE))
    table = write(tmp_path / "t.csv", "image,phrase,box\n1.jpg,the left half,0.0 0.0 0.5 1\n")
    found = examined(table, task="grounding", box_format=BoxFormat.XYXY, box_unit=BoxUnit.FRACTION)
    assert counts(found) == {}
    assert found.spreads["percent of the picture in a box"]["least"] == 50
    outside = write(tmp_path / "u.csv", "image,phrase,box\n1.jpg,the left half,50 0 150 20\n1.jpg,none,\n")
    found = examined(outside, tmp_path / "u", task="grounding")
    assert counts(found) == {"box_outside": (1, 1), "wrong_box": (1, 1)}


# ---------------------------------------------------------------- duplicates and classes
def test_duplicates_and_pictures_that_look_alike(tmp_path: Path) -> None:
    again = saved(image((320, 240), 1).resize((160, 120)), "PNG")
    datas = [jpeg(1, (320, 240)), jpeg(2, (320, 240)), jpeg(1, (320, 240)), again, jpeg(2, (320, 240))]
    rows = [(data, {"captions": [f"number {place} of them"]}) for place, data in enumerate(datas)]
    found = examined(write_shards(tmp_path / "data", rows))
    assert counts(found) == {"duplicate": (2, 2), "looks_like_another": (1, 1)}
    assert [(one, other) for one, _, other in found.examples["looks_like_another"]] == [(3, 0)]
    assert {(one, other) for one, _, other in found.examples["duplicate"]} == {(2, 0), (4, 1)}
    assert (found.status, found.hurt) == (1, 2)
    found = examined(tmp_path / "data", tmp_path / "exact", near_duplicates=False)
    assert counts(found) == {"duplicate": (2, 2)}


def test_classes_and_labels(tmp_path: Path) -> None:
    rows = [(f"a good text, number {n}", "good") for n in range(6)]
    rows += [(f"a bad text, number {n}", "bad") for n in range(5)]
    rows += [("a good text, number 0", "bad"), ("unlike all others", "rare"), ("and this one", "")]
    with (path := tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("review", "stars"), *rows])
    found = examined(path, columns="text=review,label=stars", task="text-classification")
    assert found.labels == {"bad": 6, "good": 6, "rare": 1}
    assert found.rare == {"rare": 1}
    assert counts(found) == {
        "missing_label": (1, 1),
        "contradicting_labels": (1, 1),
        "class_with_few_rows": (1, 1),
    }


# ---------------------------------------------------------------- parts, processes, folders
@thorough
def test_any_number_of_processes_finds_the_same(tmp_path: Path) -> None:
    rows = [good(number % 70, **boxed([number % 50, 5, 20, 20])) for number in range(270)]
    data = write_shards(tmp_path / "data", rows, 90)
    alone, together = examined(data, tmp_path / "one"), examined(data, tmp_path / "two", workers=2)
    assert alone == together
    assert counts(alone)["duplicate"] == (200, 200)
    results = [(tmp_path / name / "doctor.json").read_text() for name in ("one", "two")]
    assert results[0].replace('"workers": 1', '"workers": 2') == results[1]


def test_a_sample_is_spread_over_all(tmp_path: Path) -> None:
    lines = (json.dumps({"text": f"number {number} of a few"}) + "\n" for number in range(1000))
    path = write(tmp_path / "t.jsonl", "".join(lines))
    found = examined(path, sample=100, examples=100)
    plain = json.loads((tmp_path / "doctor" / "doctor.json").read_text())
    assert (found.read, plain["records"]["read"]) == (100, 100)
    assert examined(path, sample=100, examples=100) == found
    assert examined(path, tmp_path / "all", sample=5000).read == 1000


def test_no_results_are_replaced_but_its_own(tmp_path: Path) -> None:
    data = write_shards(tmp_path / "data", [good(1)])
    other = write_shards(tmp_path / "other", [good(2)])
    assert examined(data, tmp_path / "out") == examined(data, tmp_path / "out")
    with expect_refusal("holds results of `xfm doctor`", "out-2"):
        examined(other, tmp_path / "out")
    write(tmp_path / "mine" / "metrics.json", "{}")
    with expect_refusal("holds results", "mine-2"):
        examined(data, tmp_path / "mine")
    assert sorted(os.listdir(tmp_path / "out")) == ["doctor.json", "made_by.json", "report.html"]


# ---------------------------------------------------------------- hostile
def test_what_records_say_is_escaped(tmp_path: Path) -> None:
    said = "<script>alert(1)</script> a caption"
    write_shards(tmp_path / "data", [(jpeg(1, SIZE), {"captions": [said]})])
    assert counts(examined(tmp_path / "data")) == {"html_in_text": (1, 1)}
    assert "<script" not in (tmp_path / "doctor" / "report.html").read_text()


# ---------------------------------------------------------------- the command
def test_exit_statuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_shards(tmp_path / "fine", [good(number) for number in range(4)])
    write_shards(tmp_path / "some", [*(good(number) for number in range(9)), (b"no", {"captions": ["x y"]})])
    write_shards(tmp_path / "none", [(b"no", {"captions": ["x y"]})])
    line = "--workers 1 --quiet --out"
    assert main(f"doctor fine {line} a".split()) == 0
    assert "Training may start" in capsys.readouterr().out
    assert main(f"doctor some {line} b".split()) == 1
    said = capsys.readouterr().out
    assert "left out               1 pictures that do not decode" in said
    assert "1 of 10 records would be left out" in said
    assert main(f"doctor some --tolerate 0.1 {line} c".split()) == 0
    assert main(f"doctor none {line} d".split()) == 2
    assert "none of 1 record can be used" in capsys.readouterr().err
    assert (tmp_path / "d" / "report.html").exists()
    assert main(f"doctor nowhere {line} e".split()) == 2
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.mov"):
        (tmp_path / "photos" / name).write_bytes(jpeg(1, SIZE))
    assert main(f"doctor photos {line} f".split()) == 0
    assert "Note: photos: left out 1 .mov (b.mov)\n" in capsys.readouterr().err
