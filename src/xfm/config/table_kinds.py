"""What files of tables are called. Nothing here imports torch."""

from pathlib import Path

PLAIN = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""Texts, which may also be packed: `.csv.gz`."""
PACKED = ".gz"
WORKBOOK = ".xlsx"
TABLES = (*PLAIN, ".parquet", WORKBOOK, ".tar")
LISTED = f"{', '.join(TABLES)} (texts also as {PACKED})"
"""All of them, for messages."""


def table_kind(path: Path | str) -> str | None:
    """Which of `TABLES` a file is by its name; None where it is none."""
    name = sheet_of(path)[0].name.lower()
    plain = name.removesuffix(PACKED)
    found = next((kind for kind in TABLES if plain.endswith(kind)), None)
    return found if name == plain or found in PLAIN else None


def sheet_of(path: Path | str) -> tuple[Path, str | None]:
    """File and sheet of `book.xlsx@SHEET`; of everything else the path itself, and None."""
    place = Path(path)
    file, at, sheet = place.name.partition(f"{WORKBOOK}@")
    return (place.with_name(file + WORKBOOK), sheet) if at and file and sheet else (place, None)
