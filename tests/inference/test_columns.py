"""`xfm.ColumnPipeline`: batches of any form get columns, and rows that cannot be read get a reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfm
from tests.data.picture_kinds import saved
from tests.inference.models import pictures

arrow = pytest.importorskip("pyarrow")
pandas = pytest.importorskip("pandas")


def png(number: int) -> bytes:
    return saved(pictures(number + 1)[number], "png")


@pytest.fixture(scope="module")
def embed(model: Path) -> xfm.ColumnPipeline:
    return xfm.ColumnPipeline("embed", model, columns={"text": "caption"}, batch_size=2)


@pytest.mark.parametrize("form", ["dict", "arrow", "pandas"])
def test_texts_and_pictures_get_vectors_and_bad_rows_get_reasons(
    embed: xfm.ColumnPipeline, model: Path, form: str
) -> None:
    texts = ["a red square", None, None, None, "both", "a blue square"]
    files = [None, png(0), b"no picture", None, png(1), None]
    given = {"id": [*range(6)], "caption": texts, "image": files}
    made: dict[str, Any] = {"dict": {name: np.array(cells, object) for name, cells in given.items()}}
    made |= {"arrow": arrow.table(given), "pandas": pandas.DataFrame(given)}
    found = embed(made[form])
    assert type(found) is type(made[form])
    told = {name: _listed(found[name]) for name in ("id", "vector", "error")}
    assert told["id"] == [*range(6)]
    expected = xfm.pipeline("embed", model)([{"text": texts[0]}, {"image": files[1]}, {"text": texts[5]}])
    np.testing.assert_allclose([told["vector"][row] for row in (0, 1, 5)], expected, atol=1e-6)
    for row, word in ((2, "picture"), (3, "the row has no text and no image"), (4, "either text or image")):
        assert told["vector"][row] is None
        assert word in told["error"][row]
    assert [told["error"][row] for row in (0, 1, 5)] == [None] * 3


def test_answers_of_a_task(model: Path) -> None:
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    judge = xfm.ColumnPipeline("image-text-matching", model, answer="fits")
    given = {"image": [png(0), noise], "text": ["a square"] * 2}
    assert judge(given)["fits"].to_pylist() == xfm.pipeline("image-text-matching", model)(**given)
    empty = judge({"image": [], "text": []})
    assert [len(empty[name]) for name in ("fits", "error")] == [0, 0]


def _listed(column: Any) -> list[Any]:
    if hasattr(column, "to_pylist"):
        return column.to_pylist()
    return list(column.astype(object).where(column.notna(), None) if hasattr(column, "notna") else column)
