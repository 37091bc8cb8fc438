"""easy-VQA's files as its package has them."""

import json
import sys

import pytest

from tests.official.easy_vqa import write_easy_vqa
from xfm.errors import UserError
from xfm.reproduce.read.easy_vqa import read_easy_vqa

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
    splits = read_easy_vqa(folder)
    assert splits.keys() == {"train", "test"}
    rows = splits["test"]
    assert [(row.key, row.kind) for row in rows] == [(0, "colour"), (1, "presence"), (2, "shape")]
    assert rows[2].image == folder / "test" / "images" / "1.png"
    assert (rows[0].question, rows[0].answer) == ("what color is the shape?", "teal")


def test_the_installed_package_is_found(folder, tmp_path, monkeypatch):
    package = tmp_path / "site" / "easy_vqa"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('run')")
    (package / "data").symlink_to(folder)
    monkeypatch.delitem(sys.modules, "easy_vqa", raising=False)  # another test may have imported it
    monkeypatch.setattr(sys, "path", [str(package.parent), *sys.path])
    assert len(read_easy_vqa()["train"]) == len(ROWS)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["what?", "teal"], "is not"),
        ("what?", "is not"),
        ([3, "teal", 0], "text"),
        (["", "teal", 0], "text"),
        (["what?", "teal", "0"], "number"),
        (["what?", "teal", True], "number"),
        (["what?", "pink", 0], "13 answers"),
    ],
)
def test_a_wrong_row_is_named(folder, row, said):
    (folder / "train" / "questions.json").write_text(json.dumps([*ROWS, row]))
    with pytest.raises(UserError, match=f"row 4.*{said}"):
        read_easy_vqa(folder)


@pytest.mark.parametrize("content", ["{}", "[]", "no json", "[" * 100_000])
def test_a_wrong_file_is_named(folder, content):
    (folder / "test" / "questions.json").write_text(content)
    with pytest.raises(UserError, match=r"test.questions\.json"):
        read_easy_vqa(folder)


def test_what_to_install_is_said(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="pip install easy-vqa"):
        read_easy_vqa(tmp_path)
    monkeypatch.delitem(sys.modules, "easy_vqa", raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(UserError, match="pip install easy-vqa"):
        read_easy_vqa()
