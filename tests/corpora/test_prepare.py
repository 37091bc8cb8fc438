"""The same bytes whoever does the work, however often it is stopped; and nothing is lost or half there."""

import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.alike import thorough
from tests.corpora.miniature import annotations, coco, jpeg, members, write
from tests.corpora.preparing import preparation, prepared
from tests.folders import content
from tests.pages import ROOT, commands
from tests.refusals import expect_refusal
from xfm.cli.main import main
from xfm.config.load import load_recipe
from xfm.core.files import file_digest
from xfm.corpora.prepare import prepare
from xfm.data.sources import open_source
from xfm.data.sources.shard_index import INDEX, open_index
from xfm.executors.executor import ArrayTask, LocalPool

EVERYTHING = {"max_side": 40, "duplicates": "alike", "min_words": 2, "max_aspect": 3.0}


def without_times(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in content(folder).items() if name != INDEX}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    found = coco(tmp_path / "coco", pictures=7)
    for number in (5, 6):
        write(found / "train2014" / f"COCO_train2014_{number:012d}.jpg", jpeg(1))
    return found


def test_the_processes_do_not_change_a_byte(source: Path, tmp_path: Path) -> None:
    prepared("coco", source, tmp_path / "one", **EVERYTHING)
    prepared("coco", source, tmp_path / "two", LocalPool(2), workers=2, **EVERYTHING)
    for place in (2, 0, 1, 2, 0, 1):
        asked = preparation("coco", source, tmp_path / "array", **EVERYTHING)
        member = ArrayTask(f"{place}/3", 1)
        last = prepare(asked, member, progress=False)
    assert last is not None
    one = without_times(tmp_path / "one")
    assert len(one) > 3
    assert one == without_times(tmp_path / "two") == without_times(tmp_path / "array")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_every_file_is_what_the_manifest_says(source: Path, tmp_path: Path) -> None:
    manifest = prepared("coco", source, tmp_path / "to")
    told = json.loads((tmp_path / "to" / "corpus.json").read_text())
    assert [shard["name"] for shard in told["shards"]] == [f"coco-{n:05d}.tar" for n in range(4)]
    for shard in told["shards"]:
        path = tmp_path / "to" / shard["name"]
        assert (path.stat().st_size, file_digest(path)) == (shard["bytes"], shard["sha256"])
        with tarfile.open(path) as tar:
            assert sum(member.name.endswith(".json") for member in tar) == shard["records"]
    assert told["bytes"] == sum(shard["bytes"] for shard in told["shards"])
    assert told["read"] == told["written"] + sum(told["left_out"].values()) == manifest.read == 7
    index = open_index(tmp_path / "to" / INDEX)
    assert [*index.names] == [shard["name"] for shard in told["shards"]]


# ---------------------------------------------------------------- stopped and begun again
class Stop(Exception):
    """Ends a preparation where a test wants it."""


@thorough
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.integers(0, 7), max_size=4), torn=st.booleans())
def test_what_is_stopped_goes_on_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int], torn: bool
) -> None:
    root = tmp_path_factory.mktemp("stopped")
    source = coco(root / "coco", pictures=7)
    prepared("coco", source, root / "whole", **EVERYTHING)
    asked = preparation("coco", source, root / "to", **EVERYTHING)

    class Stopping(LocalPool):
        """Ends after some units."""

        def run(self, units, numbers, done):
            for turn, number in enumerate(numbers):
                if turn >= self.left:
                    if torn and units.name == "made":  # killed within a shard
                        units.folder.mkdir(exist_ok=True)
                        units.file(number, ".tar").write_bytes(b"half")
                    raise Stop
                done(number, units(number))
            self.left -= len(numbers)

    for stop in stops:
        engine = Stopping(1)
        engine.left = stop
        try:
            prepare(asked, engine, progress=False)
        except Stop:
            assert not asked.target.exists()
    assert prepare(asked, LocalPool(1), progress=False) is not None
    assert without_times(root / "to") == without_times(root / "whole")


# ---------------------------------------------------------------- one folder
def test_a_corpus_is_kept_or_replaced_as_one_says(source: Path, tmp_path: Path) -> None:
    first = prepared("coco", source, tmp_path / "to")
    before = content(tmp_path / "to")
    assert prepared("coco", source, tmp_path / "to") == first
    assert content(tmp_path / "to") == before
    with expect_refusal("holds coco of other settings or files", "--force"):
        prepared("coco", source, tmp_path / "to", max_side=20)
    assert content(tmp_path / "to") == before
    assert prepared("coco", source, tmp_path / "to", max_side=20, force=True) != first
    (tmp_path / "to" / "notes.txt").write_text("mine")
    with expect_refusal("holds notes.txt beside the corpus"):
        prepared("coco", source, tmp_path / "to", max_side=30, force=True)
    with expect_refusal("is not empty and holds no corpus.json"):
        prepared("coco", source, source)


def test_what_else_decides_what_is_left_is_known_again(source: Path, tmp_path: Path) -> None:
    """Evaluations that have grown, another folder of pictures, a further part of a table."""
    evaluation, target = tmp_path / "evaluation", tmp_path / "to"
    write(evaluation / "1.jpg", jpeg(90))
    asked = {"evaluation": [str(evaluation)]}
    prepared("coco", source, target, **asked)
    write(evaluation / "2.jpg", jpeg(1))
    with expect_refusal("holds coco of other settings or files", "--force"):
        prepared("coco", source, target, **asked)
    assert prepared("coco", source, target, force=True, **asked).written == 4

    table = tmp_path / "shop.csv"
    write(table, b"image,caption\n1.jpg,a picture\n")
    for number in range(2):
        write(tmp_path / f"pictures-{number}" / "1.jpg", jpeg(number))
    prepared("table", table, tmp_path / "shop", pictures=tmp_path / "pictures-0")
    with expect_refusal("holds table of other settings or files"):
        prepared("table", table, tmp_path / "shop", pictures=tmp_path / "pictures-1")


def test_more_than_half_damaged_is_refused(tmp_path: Path) -> None:
    source = coco(tmp_path / "coco", pictures=6)
    for number in range(1, 5):
        (source / "train2014" / f"COCO_train2014_{number:012d}.jpg").unlink()
    with expect_refusal("4 of 6 records are damaged", "more than half", "--max-bad"):
        prepared("coco", source, tmp_path / "to")
    assert not (tmp_path / "to").exists()
    assert prepared("coco", source, tmp_path / "to", max_bad=4).written == 2


# ---------------------------------------------------------------- filters and new pictures
def test_bytes_are_untouched_unless_somebody_asks(tmp_path: Path) -> None:
    source = tmp_path / "own"
    for number, size in enumerate([(64, 48), (200, 100), (30, 90)]):
        write(source / f"{number}.jpg", jpeg(number, size))
    prepared("folder", source, tmp_path / "as-it-was")
    pictures = {name: data for name, data in members(tmp_path / "as-it-was").items() if name.endswith(".jpg")}
    assert [*pictures.values()] == [jpeg(0), jpeg(1, (200, 100)), jpeg(2, (30, 90))]
    manifest = prepared("folder", source, tmp_path / "small", max_side=80)
    assert manifest.counts["pictures encoded anew"] == 2
    opened = open_source(tmp_path / "small", "image")
    assert [tuple(opened.read(n).pixels.shape[1:]) for n in range(3)] == [(48, 64), (40, 80), (80, 27)]
    manifest = prepared("folder", source, tmp_path / "anew", quality=50)
    assert manifest.counts["pictures encoded anew"] == 3
    assert manifest.bytes < 1.1 * prepared("folder", source, tmp_path / "as-it-was").bytes


def test_pictures_and_captions_are_filtered(tmp_path: Path) -> None:
    source = tmp_path / "own"
    for number, size in enumerate([(64, 48), (200, 20), (300, 60), (64, 64)]):
        write(source / f"{number}.jpg", jpeg(number, size))
        write(source / f"{number}.txt", "three words here\n" + ("one" if number else "one two"))
    manifest = prepared("folder", source, tmp_path / "to", min_side=30, max_aspect=4.0, min_words=2)
    assert manifest.left_out == {"picture too long or too wide": 1, "picture too small": 1}
    assert manifest.parts == {"caption: caption or text too short or too long": 1}
    kept = [one["captions"] for one in annotations(tmp_path / "to").values()]
    assert kept == [["three words here", "one two"], ["three words here"]]
    with expect_refusal("nothing is left of the corpus (4 caption or text too short or too long)"):
        prepared("folder", source, tmp_path / "none", min_words=9)


# ---------------------------------------------------------------- the command
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = coco(tmp_path / "coco")
    words = ["prepare", "coco", "--from", str(source), "--quiet", "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "to")]) == 0
    shown = capsys.readouterr().out
    assert "5 of 5 records in 1 shard: 10 captions, 5 pictures" in shown
    assert "1 region outside its picture" in shown
    assert main([*words, "--out", str(tmp_path / "to"), "--max-side", "20"]) == 2
    assert "--force" in capsys.readouterr().err
    for word, said in (
        ("cocoa", "there is no corpus cocoa; did you mean coco"),
        ("coco", "arguments are required"),
    ):
        assert main(["prepare", word]) == 2
        assert said in capsys.readouterr().err


def test_the_recipe_base_reads_the_folders_that_the_page_on_corpora_makes() -> None:
    made = {
        words[words.index("--out") + 1]
        for words in commands(ROOT / "docs" / "corpora.md", "xfm")
        if "--out" in words
    }
    data = load_recipe("base").data
    streams = (data.text, data.image, data.pair, data.region)
    read = {str(Path(corpus.path).parent) for stream in streams for corpus in stream.corpora}
    assert {f"data/{Path(name).name}" for name in read} <= made


def test_captions_of_another_language_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("py3langid")
    write(tmp_path / "own" / "1.jpg", jpeg(1))
    captions = "a man is riding a horse on the beach\nein Mann reitet ein Pferd am Strand entlang"
    write(tmp_path / "own" / "1.txt", captions)
    prepared("folder", tmp_path / "own", tmp_path / "to", language="en")
    assert annotations(tmp_path / "to")["1.jpg"]["captions"] == ["a man is riding a horse on the beach"]
