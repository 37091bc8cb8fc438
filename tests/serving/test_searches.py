"""The collections of a server: what pictures that were found are shown by."""

from pathlib import Path

import pytest

from xfm.config.index import SearchOptions
from xfm.serving import searches
from xfm.serving.searches import Searches


def test_a_picture_that_is_found_again_is_shown_by_its_file(
    collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searches, "_REMEMBERED", 2)
    served = Searches([collection])
    searcher = served.of(None)

    def found(name: str) -> str:
        answer = searcher.search("a square", options=SearchOptions(rerank=0, where=[f"name={name}"]))
        return served.told(searcher, answer)["hits"][0]["key"]

    first, second, _, third = (found(name) for name in ("0.png", "1.png", "0.png", "2.png"))
    kinds = [served.picture(searcher, key)[1] for key in (first, second, third)]
    served.close()
    assert kinds == ["image/jpeg", "image/png", "image/jpeg"]
