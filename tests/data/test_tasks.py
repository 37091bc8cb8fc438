"""Task files: rows that know where they stand, pictures, and evaluation's pixels."""

import json
import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tests.data.conftest import picture_bytes
from xfm.data.picture_files import image_size, load_image
from xfm.data.pictures import decode_picture
from xfm.data.task_rows import read_rows
from xfm.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    shape: tuple[int, int] = (48, 48)
    mean: tuple[float, float, float] = (0.5, 0.4, 0.3)
    std: tuple[float, float, float] = (0.2, 0.3, 0.4)


def test_rows(tmp_path):
    row = {"image": "images/a.jpg", "images": ["a", "b"], "text": "Hi", "label": True, "box": [1, 2, 3, 4]}
    (tmp_path / "rows.jsonl").write_text(
        "\n" + json.dumps(row) + "\n\n" + json.dumps(row), encoding="utf-8-sig"
    )
    rows = read_rows(tmp_path / "rows.jsonl", ["image", "text"])
    assert [r.number for r in rows] == [2, 4]
    first = rows[0]
    assert dict(first) == row
    assert first["text"] == first.text("text") == "Hi"
    assert first.path("image") == tmp_path / "images" / "a.jpg"
    assert first.paths("images") == [tmp_path / "a", tmp_path / "b"]
    assert first.flag("label") is True
    assert first.box("box", 10, 10) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"rows.jsonl:2: the row is not valid JSON"),
        ("[1]", r"rows.jsonl:2: the row is not a JSON object"),
        ('{"caption": "a"}', r'rows.jsonl:2: the field "image" is missing; mend the row'),
    ],
)
def test_bad_rows_are_named(tmp_path, line, message):
    (tmp_path / "rows.jsonl").write_text('{"image": "a"}\n' + line + "\n")
    with pytest.raises(UserError, match=message):
        read_rows(tmp_path / "rows.jsonl", ["image"])


def test_bad_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.jsonl: cannot read the file"):
        read_rows(tmp_path / "absent.jsonl")
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(UserError, match="holds no rows"):
        read_rows(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xff\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        read_rows(tmp_path / "a.jsonl")


def test_bad_fields_are_named(tmp_path):
    row = {"text": " ", "texts": ["a", 3], "none": [], "label": 1, "box": [9, 9, 5, 5]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    row = read_rows(tmp_path / "a.jsonl")[0]
    for read, field in [
        (row.text, "text"),
        (row.text, "absent"),
        (row.texts, "texts"),
        (row.texts, "none"),
        (row.flag, "label"),
        (lambda field: row.box(field, 10, 10), "box"),
        (lambda field: row.box(field, 10, 10), "absent"),
    ]:
        with pytest.raises(UserError, match=rf'a\.jsonl:1: the field "{field}" .*; mend the row'):
            read(field)


def test_rows_have_an_end(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n' + b" " * (5 << 20))
    with pytest.raises(UserError, match=r"a\.jsonl:2: the row has more than 4194304 bytes; mend the row"):
        read_rows(tmp_path / "a.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(UserError, match=r"pipe\.jsonl: cannot read the file \(it is missing or not a file"):
        read_rows(tmp_path / "pipe.jsonl")


def test_paths_stay_near_their_file(tmp_path):
    """In the file's folder, or in one beside it."""
    tasks = tmp_path / "tasks"
    (tasks / "vqa").mkdir(parents=True)
    (tmp_path / "secret.jpg").touch()
    (tasks / "link").symlink_to(tmp_path)
    good = ["a.jpg", "deep/a.jpg", "../images/a.jpg", str(tasks / "images" / "a.jpg")]
    bad = ["../../secret.jpg", "/etc/passwd", "../link/secret.jpg", "a\0b"]
    fields = {"good": good, "bad": bad, "half": "\ud800"} | {f"bad{n}": name for n, name in enumerate(bad)}
    (tasks / "vqa" / "a.jsonl").write_text(json.dumps(fields))
    row = read_rows(tasks / "vqa" / "a.jsonl")[0]
    assert row.paths("good") == [tasks / "vqa" / name for name in good]
    for n in range(len(bad)):
        with pytest.raises(UserError, match=rf'"bad{n}" is not a path below the folder above'):
            row.path(f"bad{n}")
    with pytest.raises(UserError, match='"bad" is not a path'):
        row.paths("bad")
    with pytest.raises(UserError, match='"half" is not Unicode'):
        row.path("half")


def test_relative_task_files(tmp_path, monkeypatch):
    (tmp_path / "vqa").mkdir()
    monkeypatch.chdir(tmp_path / "vqa")
    (tmp_path / "vqa" / "a.jsonl").write_text('{"image": "../images/a.jpg", "out": "../../a.jpg"}')
    row = read_rows("a.jsonl")[0]
    assert str(row.path("image")) == "../images/a.jpg"
    with pytest.raises(UserError, match="is not a path below"):
        row.path("out")


def test_sizes_of_pictures(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture_bytes(np.random.default_rng(0), 40, 30))
    assert image_size(tmp_path / "a.jpg") == (40, 30)
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, message in (
        ("pipe.jpg", "is not a file"),
        ("a.jsonl", "cannot be read"),
        ("a\0", "not a path"),
    ):
        for use in (image_size, load_image):
            with pytest.raises(UserError, match=f"{message}.*; check the path"):
                use(tmp_path / name)
    with pytest.raises(UserError, match="is not a path"):
        load_image("\ud800.jpg")


def test_load_image(tmp_path):
    data = picture_bytes(np.random.default_rng(0), 40, 30)
    (tmp_path / "a.jpg").write_bytes(data)
    assert torch.equal(load_image(tmp_path / "a.jpg"), decode_picture(data))
    (tmp_path / "b.jpg").write_bytes(data[:200])
    with pytest.raises(UserError, match=r"b\.jpg: the picture.*replace the file"):
        load_image(tmp_path / "b.jpg")
    with pytest.raises(UserError, match=r"absent\.jpg cannot be read"):
        load_image(tmp_path / "absent.jpg")
    with pytest.raises(UserError, match="not a file"):
        load_image(tmp_path)
    with pytest.raises(UserError, match="limit of 10"):
        load_image(tmp_path / "a.jpg", max_pixels=10)
