"""Official files that somebody has tampered with: one sentence about the row, never a traceback."""

import json
import pickle
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.official import corpora
from tests.official.corpora import written
from tests.official.easy_vqa import write_easy_vqa
from tests.official.glue import write_parquet
from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.read.glue import GlueTask, read_glue
from xfm.evaluation.benchmarks.read.imagenet import read_imagenet, unpacked
from xfm.evaluation.benchmarks.read.readers import parquet_files
from xfm.evaluation.benchmarks.read.vqa import HELD_OUT, read_easy_vqa


def test_numbers_of_any_length_in_a_pickle_are_refused(tmp_path: Path) -> None:
    """To print one of a million digits takes for ever."""
    read = written("refcoco", tmp_path)
    refs = pickle.loads((tmp_path / "refs(unc).p").read_bytes())
    refs[1]["ann_id"] = 10**10_000
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps(refs, 2))
    with pytest.raises(UserError, match=r"refs\(unc\)\.p: not a pickle of plain .*thousands of digits"):
        read()


@pytest.mark.parametrize("value", ["nan", "1e999"])
def test_scores_of_pairs_are_finite(tmp_path: Path, value: str) -> None:
    cells = {"sentence1": ["a"], "sentence2": ["b"], "label": [float(value)]}
    write_parquet(tmp_path / "stsb" / "train.parquet", cells, {})
    with pytest.raises(UserError, match=r'train\.parquet:1: the column "label" is not a number'):
        read_glue(tmp_path, GlueTask.STSB)


def test_unpacked_pictures_lie_where_they_were_unpacked(tmp_path: Path) -> None:
    """The folder of a cache may come from elsewhere, too."""
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "index.jsonl").write_text('{"image": "/etc/passwd", "label": "a"}\n')
    with pytest.raises(UserError, match=r'index\.jsonl:1: the column "image" leaves the folder'):
        unpacked(tmp_path / "train", list)


def test_classes_that_no_training_picture_can_have_are_named(tmp_path: Path) -> None:
    """Scores of such rows would be those of another class."""
    pytest.importorskip("pyarrow")
    corpora.write_imagenet_parquet(tmp_path)
    data = (tmp_path / "raw" / "validation00.jpg").read_bytes()
    cells = {"image": [{"bytes": data, "path": "a.jpg"}], "label": [1]}
    path = tmp_path / "data" / "validation-00000-of-00001.parquet"
    write_parquet(path, cells, {"label": ("tench", "zebra")})
    with pytest.raises(UserError, match="the class 'zebra' is not among those of train"):
        read_imagenet(tmp_path)


def test_copies_of_numbered_files_are_no_parts(tmp_path: Path) -> None:
    """Browsers write them, and people rename files."""
    names = ("train-00000-of-00002", "train-00001-of-00002")
    for name in (*names, f"{names[0]} (1)", f"{names[1]}x", "train-a-of-b", "train-0-of-\u0662"):
        (tmp_path / f"{name}.parquet").touch()
    assert [path.stem for path in parquet_files(tmp_path, "train")] == [*names]
    (tmp_path / f"{names[0]}.parquet").unlink()
    with pytest.raises(UserError, match="1 of the 2 files of train"):
        parquet_files(tmp_path, "train")


ROWS = [
    ["what color is the shape?", "teal", 0],
    ["is no red shape present?", "yes", 0],
    ["what is the blue shape?", "rectangle", 1],
]


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        write_easy_vqa(tmp_path, split, [(0, 0, 0)] * 2, ROWS)
    return tmp_path


def test_questions_with_kinds_and_keys(folder):
    corpus = read_easy_vqa(folder)
    rows = corpus.scored["test"]
    assert [(row.key, row.kind) for row in rows] == [(0, "colour"), (1, "presence"), (2, "shape")]
    assert rows[2].image == folder / "test" / "images" / "1.png"
    assert (rows[0].question, rows[0].answer) == ("what color is the shape?", "teal")


@pytest.mark.parametrize("count", [2, 90])
def test_validation_has_pictures_of_its_own(folder, count):
    rows = [["is it red?", "yes", number // 3] for number in range(3 * count)]
    (folder / "train" / "questions.json").write_text(json.dumps(rows))
    corpus = read_easy_vqa(folder)
    train, valid = ({row.image for row in part} for part in (corpus.train, corpus.valid))
    assert train.isdisjoint(valid)
    assert (len(train) + len(valid), len(valid)) == (count, min(HELD_OUT, count - 1))


def test_the_official_numbers_of_questions():
    """Of the package, where it is installed; none of its code runs."""
    found = find_spec("easy_vqa") or pytest.skip("easy-vqa is not installed")
    corpus = read_easy_vqa(Path(next(iter(found.submodule_search_locations))) / "data")
    assert len(corpus.train) + len(corpus.valid) == 38575
    assert len(corpus.scored["test"]) == 9673
    assert sum(row.kind == "presence" for row in corpus.scored["test"]) == 7136


@pytest.mark.parametrize(
    ("row", "said"),
    [(["what?", "teal"], "is not"), (["what?", "teal", "0"], "is not"), (["what?", "pink", 0], "13 answers")],
)
def test_a_wrong_row_is_named(folder, row, said):
    (folder / "train" / "questions.json").write_text(json.dumps([*ROWS, row]))
    with pytest.raises(UserError, match=f"row 4.*{said}"):
        read_easy_vqa(folder)
