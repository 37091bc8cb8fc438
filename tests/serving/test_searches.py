"""The collections of a server: what pictures that were found are shown by."""

import shutil
from pathlib import Path

from tests.evaluation.tiny import draw
from tests.refusals import expect_refusal
from xfm.config.pipelines import SearchOptions
from xfm.search.journal import HIDDEN
from xfm.search.opening import open_index
from xfm.search.sources import IngestItem
from xfm.search.store import StoreError
from xfm.serving.served import Searches


def test_pictures_have_names_of_their_own_that_any_server_knows(model: Path, tmp_path: Path) -> None:
    rows = [draw("red", "blue", number) for number in range(3)]
    keys = ["sku-1", "f" * 32, f"{tmp_path}/shop.csv:3"]
    with open_index(tmp_path / "shop", model, make=True) as index:
        index.add(IngestItem(key, "", row) for key, row in zip(keys, rows, strict=True))
    first, second = Searches([tmp_path / "shop"]), Searches([tmp_path / "shop"])
    marks = first.of(None).marks(keys)
    assert marks.keys() == {keys[2]}
    for key in keys:
        searcher = second.of(None)
        assert searcher.key_of(marks.get(key, key)) == key
        assert second.picture(searcher, marks.get(key, key)) is None
        assert searcher.pixels(key)
    for wrong in (keys[2], "0" * 32, "F" * 32, "sku-2", ""):
        with expect_refusal("no picture of that key"):
            second.picture(second.of(None), wrong)
    first.close()
    second.close()


def first_hit(served: Searches, name: str | None = None) -> tuple[str, bool]:
    searcher = served.of(name)
    answer = searcher.search("a square", options=SearchOptions(rerank=0, top_k=1))
    (hit,) = served.told(searcher, answer, searcher.marks([answer.hits[0]["key"]]))["hits"]
    return answer.hits[0]["source"], served.picture(searcher, hit["key"]) is not None


def test_a_collection_shows_no_file_but_those_below_folders_that_were_named(
    model: Path, tmp_path: Path
) -> None:
    """A folder of photos from a stranger may hold a collection that names any file of the server."""
    photos, secret = tmp_path / "photos", tmp_path / "secret.png"
    photos.mkdir()
    draw("red", "blue").save(secret)
    (photos / "link.png").symlink_to(secret)
    for number, source in enumerate((secret, photos / ".." / secret.name, photos / "link.png")):
        place = photos / HIDDEN if number == 0 else tmp_path / f"shop-{number}"
        with open_index(place, model, make=True) as index:
            index.add([IngestItem("1", str(source), draw("red", "blue"))])
        for folder, more, is_shown in (
            (photos if number == 0 else place, [photos], False),
            (place, [tmp_path], True),
        ):
            served = Searches([folder], show_from=more)
            assert first_hit(served) == (str(source), is_shown)
            served.close()
    draw("red", "green").save(photos / "own.png")
    with open_index(photos / HIDDEN) as index:
        index.remove(["1"])
        index.add([IngestItem("2", str(photos / "own.png"), photos / "own.png")])
    for folder in (photos, photos / HIDDEN):
        served = Searches([folder])
        assert served.names == ["photos"]
        assert first_hit(served, "photos") == (str(photos / "own.png"), True)
        served.close()


def test_a_collection_that_is_built_anew_is_served_anew(model: Path, tmp_path: Path) -> None:
    place = tmp_path / "shop"

    def build(key: str, **metadata: str) -> None:
        with open_index(place, model, make=True) as index:
            index.add([IngestItem(key, f"{key}.png", draw("red", "blue"), metadata=metadata)])

    build("old")
    served = Searches([place])
    assert first_hit(served)[0] == "old.png"
    shutil.rmtree(place)
    for _ in range(2):
        with expect_refusal("no collection", kind=StoreError):
            served.of(None)
    build("new", colour="red")
    searcher = served.of("shop")
    assert first_hit(served)[0] == "new.png"
    assert len(searcher.index) == 1
    assert searcher.search("a square", options=SearchOptions(where=["colour=red"])).searched == 1
    assert served.of("shop") is searcher
    place.rename(tmp_path / "aside")
    build("third")
    assert first_hit(served)[0] == "third.png"
    served.close()
