"""Pictures out of containers (Parquet, arrays), written once as files that every task can read."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from xfm.core.errors import UserError
from xfm.core.files import drafting, replace_folder, writing
from xfm.data.pictures import picture_suffix
from xfm.data.tables.parquet import read_footer
from xfm.evaluation.benchmarks.read.readers import need_parquet, parquet_rows, picture_below, read_lines
from xfm.tasks.rows import Labelled

CACHE, INDEX = "xfm-pictures", "index.jsonl"
"""Folder of unpacked pictures below that of their data, and the list of them."""


@dataclass(frozen=True)
class StoredPicture:
    """Bytes of an encoded picture, and its class."""

    data: bytes
    label: str


def unpacked(
    target: Path, pictures: Callable[[], Iterable[StoredPicture]], total: int | None = None
) -> list[Labelled]:
    """Pictures and classes below `target`, which is written at the first call and complete or absent.

    `total`, the number of pictures, shows an outdated folder.
    """
    if (target / INDEX).is_file():
        found = [
            Labelled(picture_below(target, row.text("image"), row, "image"), row.text("label"))
            for row in read_lines(target / INDEX)
        ]
        if total is None or len(found) == total:
            return found
    with writing(target, "or choose a data folder on a larger disk"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with drafting(target) as draft:
            _write(draft, tqdm(pictures(), total=total, unit="picture", desc=f"unpacking {target.name}"))
            if target.exists() and not (target / INDEX).exists():
                raise UserError(f"{target} is in the way; move it, pictures are to be unpacked there")
            replace_folder(draft, target)
    return unpacked(target, pictures)


def _write(folder: Path, pictures: Iterable[StoredPicture]) -> None:
    with (folder / INDEX).open("w", encoding="utf-8", newline="\n") as index:
        for number, picture in enumerate(pictures):
            name = f"{number // 1000:04d}/{number:07d}{picture_suffix(picture.data)}"
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(picture.data)
            index.write(json.dumps({"image": name, "label": picture.label}, ensure_ascii=False) + "\n")


def parquet_pictures(folder: Path, split: str, cache: Path) -> tuple[list[Labelled], tuple[str, ...]]:
    """Pictures of a split in the hub's Parquet layout, unpacked below `cache`, and class names in order.

    `image` holds `{"bytes", "path"}` or bytes, `label` class numbers named in the metadata, or strings.
    """
    files = need_parquet(folder, split)
    footers = [*map(read_footer, files)]

    def pictures() -> Iterable[StoredPicture]:
        for file in files:
            for row in parquet_rows(file, ("image", "label")):
                value = row["image"]
                data = value.get("bytes") if isinstance(value, dict) else value
                if not isinstance(data, bytes):
                    raise row.error("image", "holds no bytes of a picture")
                if row["label"] is None:
                    raise row.error("label", "names no class")
                yield StoredPicture(data, str(row["label"]))

    total = sum(sum(footer.rows) for footer in footers)
    return unpacked(cache / split, pictures, total), tuple(footers[0].classes.get("label", ()))
