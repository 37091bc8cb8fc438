"""Collections of little pictures, and the stores that they can lie in."""

import operator
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.evaluation.tiny import COLOURS, draw
from tests.refusals import expect_refusal
from xfm.search.filters import Condition, Metadata, Relation
from xfm.search.opening import open_index
from xfm.search.store import IndexedImage, Row

SERVER = "XFM_TEST_POSTGRES"
"""Of the environment: the address of a PostgreSQL server with pgvector, for the tests that need one."""
ROOT = Path(__file__).parents[2]
WIDTH = 16


def postgres_address() -> str:
    """The address of a server for tests; without one the test is skipped."""
    told = ROOT / "build" / "services.env"
    lines = told.read_text().splitlines() if told.exists() else []
    found = dict(line.split("=", 1) for line in lines) | dict(os.environ)
    if SERVER not in found:
        pytest.skip(f"{SERVER} names no PostgreSQL server; `make services` starts one")
    return found[SERVER]


def expect_unopened(folder: Path, *words: str, **options: Any) -> None:
    """A collection is not opened, and a sentence with these words says why."""
    with expect_refusal(*words), open_index(folder, **options):
        pass


@pytest.fixture(params=["lance", "postgres"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Opens the same store, empty at first, each time that it is called."""
    opened: list[Any] = []
    if request.param == "lance":
        lance = pytest.importorskip("xfm.search.lance")
        make: Any = lambda: lance.LanceStore(tmp_path / "lance", WIDTH)  # noqa: E731
    else:
        address, name = postgres_address(), f"t{uuid.uuid4().hex[:12]}"
        postgres = pytest.importorskip("xfm.search.postgres")
        make = lambda: postgres.PostgresStore(address, name, WIDTH)  # noqa: E731

    def opening() -> Any:
        opened.append(make())
        return opened[-1]

    yield opening
    if opened:
        opened[-1].drop()
    for store in opened:
        store.close()


@pytest.fixture
def store(new_store: Callable[[], Any]) -> Any:
    return new_store()


def holds(condition: Condition, metadata: Metadata) -> bool:
    """Whether a picture passes, as the words of a condition say it."""
    own, values = metadata.get(condition.field), condition.values
    if own is None:
        return False
    if condition.relation in (Relation.EQUAL, Relation.OTHER):
        return (own in values) is (condition.relation is Relation.EQUAL)
    compared = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
    return compared[condition.relation](own, values[0])


def unit(rng: np.random.Generator, count: int, width: int = WIDTH) -> NDArray[np.float32]:
    """[N, E] random directions."""
    found = rng.standard_normal((count, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def rows_of(vectors: NDArray[np.float32], first: int = 0, **metadata: Any) -> list[Row]:
    """Rows k0, k1, ... with a number and a parity as metadata."""
    return [
        Row(
            IndexedImage(
                f"k{number}", f"s{number}", 4, 3, bytes([number % 256]),
                {"number": float(number), "even": number % 2 == 0, "name": f"it's {number % 7}", **metadata},
            ),
            vector,
        )
        for number, vector in enumerate(vectors, start=first)
    ]  # fmt: skip


def photographed() -> Image.Exif:
    """What a camera writes: its name, when, and where."""
    found = Image.Exif()
    found[0x0110], found[0x8769] = "X-100\0", {0x9003: "2024:06:15 12:00:00"}
    found[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures of two squares, some with EXIF, one there twice, and one that is broken."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    names = [(left, right) for left in COLOURS for right in COLOURS if left != right]
    for number, (left, right) in enumerate(names):
        place = folder / "more" if number % 3 == 0 else folder
        told = photographed() if left == "red" else Image.Exif()
        draw(left, right).save(place / f"{left}-{right}.png", exif=told)
    draw(*names[1]).save(folder / "again.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder
