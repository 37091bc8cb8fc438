"""`xfm index` and `xfm search`, as they are typed."""

import json
from pathlib import Path

import pytest

from tests.finetuning.conftest import Cli
from tests.finetuning.conftest import cli as cli
from tests.index.conftest import photos as photos
from xfm.models.shipped import DEFAULT
from xfm.search.ingest import HIDDEN

pytest.importorskip("lancedb")


def test_build_search_and_take_out(model: Path, tmp_path: Path, photos: Path, cli: Cli) -> None:
    out = tmp_path / "index"
    said = cli.prints("index", "build", "--model", model, "--images", photos, "--out", out)
    for told in ("12 new", "1 exactly like another one", "1 that cannot be read"):
        assert told in said
    named, first = f"1 picture cannot be read: {photos / 'broken.png'}", cli.errors
    assert named in cli.errors
    assert "broken.png" in (out / "bad.jsonl").read_text()
    assert "0 new; 12 known" in cli.prints("index", "build", "--images", photos, "--out", out)
    again = ("index", "build", "--images", photos, "--out", out)
    cli.expect_refusal(["another model than small", str(model)], *again, "--model", "small")
    cli.expect_refusal(["rows in the folder", "--table"], *again, "--table", "others")
    stats = json.loads(cli.prints("index", "stats", out))
    assert (stats["pictures"], stats["duplicate"], stats["bad"]) == (12, 1, 1)
    assert stats["fields"] == {"name": "text", "folder": "text", "taken": "day", "camera": "text"}
    assert "EXIF says of 2 of 12 pictures when" in first
    asked = ("search", out, "a red square")
    answer = json.loads(cli.prints(*asked, "--json", "--where", "folder=more", "--top-k", 2))
    assert answer["searched"] == 4
    assert json.loads(cli.prints(*asked, "--json", "--where", "taken<=2024"))["searched"] == 2
    assert len(answer["hits"]) == 2
    assert all(hit["metadata"]["folder"] == "more" for hit in answer["hits"])
    named = ("--where", f"name={answer['hits'][0]['metadata']['name']}", "--where", "folder=more,nowhere")
    assert (
        json.loads(cli.prints(*asked, "--json", *named))["searched"] == 1
    )  # both hold, and commas are theirs
    shown = cli.prints(*asked, "--min-score", 1, "--draw", tmp_path / "found")
    assert "Nothing found among 12 pictures" in shown
    assert len(list((tmp_path / "found").glob("*.png"))) == 10
    cli.expect_refusal(["holds something", "index-2"], *asked, "--draw", out)
    cli.expect_refusal(["--max-bad", "collection"], *asked, "--max-bad", "5")
    assert "1 picture is taken out" in cli.prints("index", "remove", out, *named)
    assert "3 pictures are taken out" in cli.prints("index", "remove", out, "--where", "folder=more")
    assert "became" in cli.prints("index", "compact", out)


def test_prices_of_a_csv_are_numbers(model: Path, tmp_path: Path, photos: Path, cli: Cli) -> None:
    first, second = sorted(photos.glob("red-*.png"))[:2]
    table, more = tmp_path / "shop.csv", tmp_path / "more.csv"
    table.write_text(f"sku,image,price,size\n007,{first},100,9\n008,{second},20,L\n")
    more.write_text(f"sku,image,price\n009,{photos / 'again.png'},on request\n")
    out = tmp_path / "index"
    build = ("index", "build", "--model", model, "--key", "sku", "--out", out, "--images")
    cli.expect_refusal([f"{more}:2", "price", f"{table} has numbers"], *build, f"{table},{more}")
    assert not out.exists()
    assert "2 new" in cli.prints(*build, table)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.csv").write_text("sku,image\n")
    for name in ("empty", "empty.csv"):
        new = ("index", "build", "--out", tmp_path / "new", "--images", tmp_path / name)
        cli.expect_refusal([name, "no pictures"], *new)
        assert not (tmp_path / "new").exists()
    before = (out / "index.json").read_text()
    cli.prints("index", "add", out, "--images", more, status=2)
    assert f"{more}:2: price is 'on request', a text, and the collection has numbers" in cli.errors
    assert (out / "index.json").read_text() == before
    assert "2 pictures are" in cli.prints("index", "add", out, "--images", table, "--key", "sku")


def test_a_folder_of_pictures_is_searched_without_a_build(model: Path, photos: Path, cli: Cli) -> None:
    for wrong, told in (
        (("a red square", "--where", "cap"), "cap is no condition: write one such as kind=dog"),
        ((" ",), "the text of the search is empty"),
        (("--image", photos / "none.png"), "none.png"),
    ):
        cli.expect_refusal([told], "search", photos, "--model", model, *wrong)
        assert not (photos / HIDDEN).exists()  # refused before the pictures are read
    first = cli.prints("search", photos, "a red square", "--model", model)
    assert "12 new" in cli.errors
    assert "  1." in first
    cli.prints("search", photos, "a red square")
    assert "new" not in cli.errors
    anew = f"xfm index build --model small --images {photos} --out FOLDER"
    cli.expect_refusal(["another model than small", anew], "search", photos, "a", "--model", "small")
    cli.prints("search", photos, f"{photos / 'again.png'} - a blue square")
    assert f"searched for +1 * {photos / 'again.png'} -1 * a blue square" in cli.errors
    cli.prints("search", photos, "red + blue")
    assert "searched for +1 * red +1 * blue, without re-ranking" in cli.errors


def test_duplicates_are_told_and_stay(model: Path, photos: Path, cli: Cli) -> None:
    asked = ("search", photos, "--duplicates", "--min-similarity")
    (pair,) = json.loads(cli.prints(*asked, 1, "--json", "--model", model))
    assert "again.png" in {Path(one["source"]).name for one in pair}
    assert [one["similarity"] for one in pair] == [1, pytest.approx(1, abs=1e-6)]
    assert "1 group: 1 picture with a cosine of 1 or more" in cli.prints(*asked, 1)
    assert "0 groups" in cli.prints(*asked, 1, "--where", "folder=nowhere")
    for wrong, told in (((2,), "a cosine above 0"), ((1, "--top-k", 3), "leave out the rest")):
        cli.expect_refusal([told], *asked, *wrong)
    cli.expect_refusal(["--min-score"], "search", photos, "a", *asked[3:], 1)
    assert len([*photos.rglob("*.png")]) == 14


def test_a_miss_and_a_doubtful_hit_say_what_the_model_knows(photos: Path, cli: Cli) -> None:
    asked = ("search", photos, "qwertz asdf", "--min-score")
    limits = {"small": "Photographs, other names and free", "photos": "It was taught things"}[DEFAULT]
    missed = cli.prints(*asked, 1)
    assert "Nothing found" in missed
    assert limits in missed
    assert limits in json.loads(cli.prints(*asked, 1, "--json"))["limits"]
    doubted = json.loads(cli.prints(*asked, 0, "--json"))
    assert doubted["fits"]
    assert doubted["best"] < 0.9
    assert limits in doubted["limits"]
