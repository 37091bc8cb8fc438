"""Pictures from folders, tables and shards, with their names and metadata."""

import json
import os
from pathlib import Path

import pytest

from tests.data.conftest import write_tar
from tests.data.picture_kinds import saved
from tests.evaluation.tiny import draw
from xfm.core.errors import UserError
from xfm.data.tables import ColumnMap
from xfm.search.sources import FolderSupply, open_supply


def png(number: int) -> bytes:
    return saved(draw("red", "blue", number), "png")


def table(folder: Path, *rows: dict, name: str = "rows.jsonl") -> Path:
    (folder / "a.png").write_bytes(png(0))
    (folder / "b.png").write_bytes(png(1))
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_folder_names_its_pictures_by_path(tmp_path: Path, photos: Path) -> None:
    source = open_supply(photos)
    found = list(source.candidates())
    assert source.total == len(found) == 14
    for one in found:
        path = Path(one.key)
        assert path.is_file()
        assert one.source == one.key
        folder = str(path.parent.relative_to(photos))
        assert one.metadata == {"name": path.name, "folder": folder, "taken": "", "camera": ""}
    assert [one.metadata for one in open_supply(photos, keep=["taken"]).candidates()] == [{"taken": ""}] * 14
    before = found[3].stamp
    Path(found[3].key).write_bytes(png(9) + b"\0")
    assert next(one for one in source.candidates() if one.key == found[3].key).stamp != before


def test_a_table_has_names_and_metadata(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "image": "a.png", "price": 3, "tags": ["x"], "kind": "dog"},
        {"id": "x", "image": "b.png", "price": 4.5},
    ]
    source = open_supply(table(tmp_path, *rows))
    first, second = source.candidates()
    assert (first.key, second.key) == ("7", "x")
    assert first.metadata == {"id": 7.0, "price": 3.0, "kind": "dog"}
    assert second.metadata == {"id": "x", "price": 4.5}
    assert source.left_out == {"tags": 1}
    assert Path(first.source) == tmp_path / "a.png"
    chosen = open_supply(tmp_path / "rows.jsonl", keep=["kind"])
    assert [one.metadata for one in chosen.candidates()] == [{"kind": "dog"}, {}]


def test_rows_without_names_are_named_by_their_place(tmp_path: Path) -> None:
    path = table(tmp_path, {"file": "a.png"}, {"file": "b.png"})
    found = list(open_supply(path, ColumnMap.parse("image=file")).candidates())
    assert [one.key for one in found] == [f"{path}:1", f"{path}:2"]
    again = list(open_supply(path, ColumnMap.parse("image=file"), key="file").candidates())
    assert [one.key for one in again] == ["a.png", "b.png"]


def test_a_shard_has_the_json_beside_a_picture(tmp_path: Path) -> None:
    annotation = b'{"caption": "a red square", "n": 2, "l": []}'
    members = {"x/1.png": png(1), "x/1.json": annotation, "x/2.png": png(2), "x/2.txt": b"words"}
    path = write_tar(tmp_path / "part.tar", members)
    source = open_supply(path)
    first, second = source.candidates()
    assert (first.key, second.key) == (f"{path}/x/1", f"{path}/x/2")
    assert first.metadata == {"caption": "a red square", "n": 2.0}
    assert second.metadata == {"caption": "words"}
    assert first.picture == png(1)
    assert source.left_out == {"l": 1}


def test_shards_are_found_by_a_pattern_or_their_folder_and_need_no_texts(tmp_path: Path) -> None:
    second = {"2.png": png(9), "2.txt": b"words"}
    paths = [write_tar(tmp_path / f"{n:05d}.tar", {"1.png": png(n), **second}) for n in range(2)]
    expected = [
        (f"{path}/{name}", png(n if name == 1 else 9)) for n, path in enumerate(paths) for name in (1, 2)
    ]
    for given in (tmp_path, tmp_path / "*.tar", tmp_path / "{00000..00001}.tar"):
        source = open_supply(given)
        offers = list(source.candidates())
        assert [(one.key, one.picture) for one in offers] == expected
        assert [one.metadata for one in offers] == [{}, {"caption": "words"}] * 2
        assert source.total == 4
    write_tar(paths[0], {"1.png": png(5), **second})
    os.utime(paths[0], (1, 1))
    again = list(open_supply(tmp_path / "*.tar").candidates())
    changed = [one.stamp != before.stamp for one, before in zip(again, offers, strict=True)]
    assert changed == [True, True, False, False]


def test_a_name_that_is_not_utf8_is_told_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    odd = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        odd.write_bytes(png(1))
    except OSError:
        pytest.skip("the file system takes names in UTF-8 alone")
    source = FolderSupply(tmp_path)
    good, bad = sorted(source.candidates(), key=lambda one: isinstance(one.picture, UserError))
    assert good.picture == tmp_path / "a.png"
    assert isinstance(bad.picture, UserError)
    assert "not UTF-8" in str(bad.picture)
    assert bad.key.encode().decode() == str(tmp_path / "caf\\udce9.png")
    assert {*source.keys()} == {good.key, bad.key}
