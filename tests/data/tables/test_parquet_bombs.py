"""Small Parquet files that stand for much memory: read within bounds, or refused unread."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.data.tables.written import PICTURES, png, read, write_parquet, write_repeated
from tests.processes import limited, run
from tests.refusals import expect_refusal
from xfm.data.tables.parquet import read_parquet
from xfm.evaluation.benchmarks.read.readers import parquet_rows

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


@pytest.mark.parametrize("nested", [False, True])
def test_one_value_in_many_rows_stands_in_memory_once(tmp_path: Path, nested: bool) -> None:
    path = write_repeated(tmp_path / "a.parquet", b"\0" * 40_000_000, 250, nested=nested)
    assert path.stat().st_size < 5000
    peak, found = peak_of(READ, path)
    assert (found["rows"], found["size"]) == (250, 250 * 40_000_000)
    assert peak < 1000  # as objects of their own: 9,500


def test_pictures_in_many_rows_are_written_once(tmp_path: Path) -> None:
    rows = read(write_repeated(tmp_path / "a.parquet", png(1), 600, nested=True), PICTURES)
    assert len(rows) == 600
    assert len({row.path("image") for row in rows}) == 1


def test_a_page_beyond_the_limit_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfm.core.sandbox.MEMORY", 512 * MIB)
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


def test_a_benchmark_names_cells_beyond_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [{"text": text, "label": "a"} for text in ("a", "x" * (5 << 20))]
    write_parquet(path, rows, compression="zstd")
    with expect_refusal("a.parquet:2", '"text"', "5242880 bytes"):
        list(parquet_rows(path, ("text", "label")))


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


class KeysInMemory:
    """A key as it is: what pyarrow asks of whoever keeps keys."""

    def __new__(cls, config: object) -> Any:
        from pyarrow.parquet.encryption import KmsClient

        class Client(KmsClient):
            def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
                return base64.b64encode(key_bytes)

            def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
                return base64.b64decode(wrapped_key)

        return Client()


def test_encrypted_columns_are_one_sentence(tmp_path: Path) -> None:
    """In a process of its own, which pyarrow would end."""
    encryption = pytest.importorskip("pyarrow.parquet.encryption")
    asked = encryption.EncryptionConfiguration(
        footer_key="footer", column_keys={"column": ["text"]}, plaintext_footer=True
    )
    properties = encryption.CryptoFactory(KeysInMemory).file_encryption_properties(
        encryption.KmsConnectionConfig(), asked
    )
    table = arrow.table({"text": ["a", "b"], "label": [1, 2]})
    path = tmp_path / "a.parquet"
    with parquet.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    code = (
        "import sys\nfrom pathlib import Path\nfrom xfm.data.tables import open_table\n"
        "from xfm.core.errors import UserError\n"
        "try:\n    [*open_table(Path(sys.argv[1])).rows(frozenset(['text']))]\n"
        "except UserError as error:\n    print(error)\n"
    )
    ended = run([sys.executable, "-c", code, str(path)], 120)
    assert ended.out.startswith(f"{path} cannot be read")
    assert "write it anew" in ended.out
