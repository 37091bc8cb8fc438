"""Official files that somebody has tampered with: one sentence about the row, never a traceback."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.official import corpora
from tests.official.easy_vqa import write_easy_vqa
from tests.official.glue import write_parquet
from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.read.imagenet import read_imagenet
from xfm.evaluation.benchmarks.read.vqa import HELD_OUT, read_easy_vqa


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
