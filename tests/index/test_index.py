"""Collections: what is taken, left out, replaced, taken out, and found again."""

import fcntl
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.tiny import COLOURS, draw, save_tiny_model
from tests.index.conftest import expect_unopened, photographed, unit
from tests.refusals import expect_refusal
from xfm.config.pipelines import SearchOptions
from xfm.core.errors import UserError
from xfm.core.locks import LOCK_FILE
from xfm.data.skipped import SkippedRecords
from xfm.inference.pipeline import pipeline
from xfm.search import duplicates, searching
from xfm.search import index as module
from xfm.search.index import Index, IngestCounts, with_exif
from xfm.search.ingest import HIDDEN, folder_index
from xfm.search.opening import open_index
from xfm.search.searching import Searcher
from xfm.search.sources import IngestItem
from xfm.search.terms import parse_terms

pytest.importorskip("lancedb")
LEFT = "a red square left of a blue square"


@pytest.fixture
def index(model: Path, tmp_path: Path) -> Iterator[Index]:
    with open_index(tmp_path / "index", model, make=True) as index:
        yield index


def candidates(count: int = 6, start: int = 0) -> list[IngestItem]:
    pairs = [(left, right) for left in COLOURS for right in COLOURS if left != right]
    return [
        IngestItem(f"p{n}", f"p{n}.png", draw(*pairs[n % 12], jitter=n), str(n), {"number": float(n)})
        for n in range(start, start + count)
    ]


def found(index: Index, text: str, **options) -> list[str]:
    chosen = SearchOptions(top_k=50, rerank=0, **options)
    return [hit["key"] for hit in Searcher(index).search(text, options=chosen).hits]


def test_a_picture_that_breaks_goes(index: Index) -> None:
    broken = IngestItem("p1", "p1.png", UserError("the picture is cut off"), "later")
    index.add(candidates(3))
    left_out = SkippedRecords()
    assert index.add([broken], left_out).bad == 1
    assert left_out.rows == {"p1.png": "the picture is cut off"}
    assert sorted(found(index, "a square")) == ["p0", "p2"]
    assert index.add([candidates(2)[1]]).new == 1


def test_an_answer_says_what_fits_and_where(index: Index, model: Path, monkeypatch) -> None:
    index.add(candidates(5))
    searcher = Searcher(index)
    answer = searcher.search(LEFT, options=SearchOptions(top_k=3, rerank=5))
    assert len(answer.hits) == 3
    assert answer.searched == 5
    asked = [{"image": one.picture, "text": LEFT} for one in candidates(5)]
    pairs, boxes = pipeline("image-text-matching", model)(asked), pipeline("grounding", model)(asked)
    for hit in answer.hits:
        number = int(hit["key"][1:])
        assert hit.get("match") == pytest.approx(pairs[number]["score"], abs=1e-5)
        assert hit["similarity"] == pytest.approx(pairs[number]["similarity"], abs=1e-5)
        assert hit.get("box") == pytest.approx(boxes[number]["box"], abs=1e-3)
    scores = [hit["score"] for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)
    assert answer.best == pytest.approx(max(one["score"] for one in pairs), abs=1e-5)
    for least, fits in ((answer.best - 1e-4, True), (answer.best + 1e-4, False)):
        options = SearchOptions(min_score=least)
        assert searcher.search(LEFT, options=options).fits is fits
    assert answer.limits == "Trained on not stated"
    monkeypatch.setattr(searching, "SURE", answer.best)
    assert searcher.search(LEFT, options=SearchOptions(min_score=0)).limits == ""
    empty = searcher.search("a red square", options=SearchOptions(where=["number>100"]))
    assert (empty.hits, empty.fits, empty.best, empty.searched) == ([], False, None, 0)


def test_terms_are_one_direction_and_one_text_is_matched(
    index: Index, model: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER", 4)
    assert index.add(candidates(6)) == IngestCounts(new=6)
    embed, match = pipeline("embed", model), pipeline("image-text-matching", model)
    query = draw("red", "green", jitter=40)
    query.save(tmp_path / "query.png")
    sums = {
        f"2 * red + {tmp_path / 'query.png'}": 2 * embed(text="red") + embed(image=query),
        f"red - {tmp_path / 'query.png'}": embed(text="red") - embed(image=query),
        str(tmp_path / "query.png"): embed(image=query),
        "red + blue": embed(text="red") + embed(text="blue"),
        "- red": -embed(text="red"),
    }
    for question, whole in sums.items():
        answer = Searcher(index).search(parse_terms(question))
        is_matched = {"png", "red"} <= {*re.findall("png|red", question)}
        assert (answer.best is not None) is (answer.fits is not None) is is_matched
        near = [hit["similarity"] for hit in answer.hits]
        assert is_matched or near == sorted(near, reverse=True)
        assert len(near) == 6
        for hit in answer.hits:
            own = candidates(6)[int(hit["key"][1:])].picture
            cosine = embed(image=own) @ whole / np.linalg.norm(whole)
            assert hit["similarity"] == pytest.approx(cosine, abs=1e-4)
            score = match(image=own, text="red")["score"] if is_matched else None
            assert hit.get("match") == (score if score is None else pytest.approx(score, abs=1e-4))
    with expect_refusal("cancel out"):
        Searcher(index).search(parse_terms("red - red"))


def test_groups_of_duplicates_lie_around_their_first(monkeypatch) -> None:
    monkeypatch.setattr(duplicates, "_CELLS", 100)  # blocks of two rows
    vectors = unit(np.random.default_rng(0), 40, 3)
    left, expected = [*range(40)], list[list[tuple[int, float]]]()
    while left:
        cosines = {row: float(vectors[left[0]] @ vectors[row]) for row in left}
        group = sorted((row for row in left if cosines[row] >= 0.9), key=lambda row: -cosines[row])
        expected += [[(row, pytest.approx(cosines[row])) for row in group]] if len(group) > 1 else []
        left = [row for row in left if row not in group]
    assert duplicates.groups_around(vectors, 0.9) == expected
    assert duplicates.groups_around(vectors[:0], 0.9) == []


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_of_exif_day_and_camera_are_kept_and_damage_is_none(tmp_path: Path, kind: str) -> None:
    path, rng = tmp_path / f"a.{kind}", np.random.default_rng(0)
    draw("red", "blue").save(path, exif=photographed())
    item = IngestItem("a", "a", path, "", {"name": "a", "taken": "", "camera": ""})
    told = {"name": "a", "taken": "2024-06-15", "camera": "X-100"}
    assert with_exif(item).metadata == told
    assert with_exif(replace(item, metadata={"camera": ""})).metadata == {"camera": "X-100"}
    start = (whole := path.read_bytes()).lower().index(b"exif")
    for place in range(start, start + 150, 3):
        path.write_bytes(whole[:place] + rng.bytes(2) + whole[place + 2 :])
        assert {*with_exif(item).metadata} <= {*told}


def test_searches_together_find_what_each_finds_alone(index: Index, monkeypatch) -> None:
    monkeypatch.setattr(searching, "_TOGETHER", 8)  # three searches of five pictures take two passes
    index.add(candidates(6))
    picture = Image.fromarray(np.asarray(draw("red", "green", jitter=40)))
    asked = [
        (LEFT, None),
        (None, picture),
        ("a green square", picture),
        ("a square", None),
        ("red", None),
    ]
    chosen = [
        SearchOptions(top_k=3, rerank=5),
        SearchOptions(top_k=4),
        SearchOptions(top_k=2, rerank=2, min_score=0.1),
        SearchOptions(rerank=0),
        SearchOptions(where=["number>2"]),
    ]
    searcher = Searcher(index)
    queries = searcher.queries(asked)
    lists = [searcher.shortlist(query, one) for query, one in zip(queries, chosen, strict=True)]
    for one, options, answer in zip(asked, chosen, searcher.answers(lists), strict=True):
        alone = Searcher(index).search(*one, options)
        assert [hit["key"] for hit in answer.hits] == [hit["key"] for hit in alone.hits]
        for hit, other in zip(answer.hits, alone.hits, strict=True):
            assert hit.get("box") == (pytest.approx(other["box"], abs=1e-2) if "box" in other else None)
            for name in ("score", "similarity", "match"):
                assert hit.get(name) == pytest.approx(other.get(name), abs=1e-4)
        for name in ("fits", "searched", "min_score"):
            assert getattr(answer, name) == getattr(alone, name)
        assert answer.best == pytest.approx(alone.best, abs=1e-5)


def test_an_index_of_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    with open_index(tmp_path / "index", model, make=True) as index:
        index.add(candidates(1))
    other = save_tiny_model(tmp_path / "other", seed=2)
    expect_unopened(tmp_path / "index", "another model", str(model), model=other)
    expect_unopened(tmp_path / "nothing", "no collection", "xfm index build")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    expect_unopened(tmp_path / "full", "something else", model=model, make=True)
    (tmp_path / "full" / "file").rename(tmp_path / "full" / ".index.json.partial-1")  # of a killed build
    with open_index(tmp_path / "full", model, make=True) as index:
        assert [*index.folder.glob(".index*")] == []


def test_a_folder_is_its_own_collection_and_followed(model: Path, photos: Path) -> None:
    def names(text: str = "a square") -> set[str]:
        with folder_index(photos, model, SkippedRecords(), progress=False) as index:
            return {Path(key).name for key in found(index, text)}

    first = names()
    assert len(first) == 12
    assert (photos / HIDDEN).is_dir()
    gone, new = next(photos.glob("red-*.png")), photos / "new.png"
    gone.unlink()
    draw("red", "blue", jitter=77).save(new)
    left = first - {gone.name} | {"new.png"}
    assert names() in (left, left | {"again.png"})
    with expect_refusal("holds no pictures"):
        (photos / "empty").mkdir()
        with folder_index(photos / "empty", model, SkippedRecords()):
            pass


def test_a_folder_is_searched_while_another_process_takes_it_in(model: Path, photos: Path, capsys) -> None:
    with folder_index(photos, model, SkippedRecords(), progress=False):
        pass
    draw("red", "blue", jitter=77).save(photos / "new.png")
    with (photos / HIDDEN / LOCK_FILE).open("w") as lock:  # another open file is another holder
        fcntl.flock(lock, fcntl.LOCK_EX)
        with folder_index(photos, model, SkippedRecords(), progress=False) as index:
            assert len(found(index, "a square")) == 12
    assert "in use by another process" in capsys.readouterr().err
    (photos / HIDDEN / LOCK_FILE).unlink()
    with folder_index(photos, model, SkippedRecords(), progress=False) as index:
        assert len(found(index, "a square")) == 13


def test_pictures_that_come_one_by_one_leave_few_files(model: Path, tmp_path: Path, monkeypatch) -> None:
    """A row is stored for each, 60 times; the files are joined before there are many."""
    from xfm.search import lance

    monkeypatch.setattr(lance, "_PARTS", 16)
    most, folder = 0, tmp_path / "index"
    with open_index(folder, model, make=True) as index:
        for number in range(60):
            cells = np.random.default_rng(number).integers(256, size=(8, 8, 3), dtype=np.uint8)
            picture = Image.fromarray(cells).resize((32, 32), Image.Resampling.NEAREST)
            assert index.add([IngestItem(f"p{number}", "", picture, str(number))]).new == 1
            most = max(most, sum(path.is_file() for path in folder.rglob("*")))
        assert len(index) == 60
        assert index.store.stats().parts <= 40
        assert index.store.count() == 60
        assert most < 110  # three a time would be 180
        index.compact()
        assert index.store.stats().parts == 1
        # Where a clock steps back, an earlier version and its files stay for a while.
        assert sum(path.is_file() for path in folder.rglob("*")) < 50
