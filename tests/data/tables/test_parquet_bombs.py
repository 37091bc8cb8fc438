"""Small Parquet files that stand for much memory: read within bounds, or refused unread."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.alike import thorough
from tests.data.tables.written import write_repeated
from tests.processes import limited
from tests.refusals import expect_refusal
from xfm.data.tables.parquet import read_parquet

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
MIB = 1 << 20


def cells_of(path: Path, *columns: str) -> list[Any]:
    return [row.checked(path) for row in read_parquet(path).rows(frozenset(columns))]


def peak_of(program: str, *arguments: object) -> tuple[int, dict[str, Any]]:
    """MiB that a process of its own took at most under a limit of its address space, and what it printed."""
    program += (
        "\nlines = open('/proc/self/status').read().splitlines()"
        "\nfound['peak'] = next(int(line.split()[1]) >> 10 for line in lines if line.startswith('VmHWM'))"
        "\nprint(json.dumps(found))"
    )
    found = json.loads(limited(6, "import json, sys\nfrom pathlib import Path\n" + program, *arguments))
    return found["peak"], found


READ = """
from xfm.data.tables.parquet import read_parquet
rows, size = 0, 0
for row in read_parquet(Path(sys.argv[1])).rows(frozenset(["image"])):
    cell = row.cells["image"]["bytes"] if isinstance(row.cells["image"], dict) else row.cells["image"]
    rows, size = rows + 1, size + len(cell)
found = {"rows": rows, "size": size}
"""


@thorough
def test_one_value_in_many_rows_stands_in_memory_once(tmp_path: Path) -> None:
    path = write_repeated(tmp_path / "a.parquet", b"\0" * 40_000_000, 30, nested=True)
    assert path.stat().st_size < 5000
    peak, found = peak_of(READ, path)
    assert (found["rows"], found["size"]) == (30, 30 * 40_000_000)
    assert peak < 800  # as objects of their own: 1,200 more


def test_a_page_beyond_the_limit_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfm.core.sandbox.MEMORY", 320 * MIB)
    path = write_repeated(tmp_path / "a.parquet", b"\0" * 400_000_000, 2)
    with expect_refusal("a.parquet", "memory", "smaller parts"):
        cells_of(path, "image")


def test_rows_and_lists_out_of_all_proportion(tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"text": arrow.nulls(3_000_000, "int8")}), tmp_path / "rows.parquet")
    with expect_refusal("rows.parquet", "3000000 rows"):
        cells_of(tmp_path / "rows.parquet", "text")
    values = arrow.ListArray.from_arrays(arrow.array([0, 3_000_000], "int32"), arrow.nulls(3_000_000, "int8"))
    parquet.write_table(arrow.table({"box": values}), tmp_path / "lists.parquet", data_page_version="2.0")
    with expect_refusal("lists.parquet", "3000000 values"):
        cells_of(tmp_path / "lists.parquet", "box")


def test_every_layout_of_a_cell_is_read_as_pyarrow_reads_it(tmp_path: Path) -> None:
    table = arrow.table(
        {
            "text": arrow.array(["a", None, "b"], arrow.large_string()),
            "data": arrow.array([b"x", b"", None], arrow.binary()),
            "list": arrow.array([["a", None], None, []], arrow.list_(arrow.string())),
            "deep": arrow.array([[{"p": "a", "n": [1, 2]}], [], None]),
            "hub": arrow.array([{"bytes": b"1", "path": None}, None, {"bytes": None, "path": "p"}]),
            "fixed": arrow.array([[1.0, 2.0], None, [3.0, 4.0]], arrow.list_(arrow.float32(), 2)),
            "map": arrow.array([[("k", "v")], [], None], arrow.map_(arrow.string(), arrow.string())),
            "number": arrow.array([1, None, 3]),
            "truth": arrow.array([True, None, False]),
            "price": arrow.array([1, 2, None], arrow.decimal128(5, 2)),
            "day": arrow.array([1, None, 2], arrow.date32()),
            "names": arrow.array(["u", "v", None]).dictionary_encode(),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    assert cells_of(tmp_path / "a.parquet", *table.column_names) == table.to_pylist()
