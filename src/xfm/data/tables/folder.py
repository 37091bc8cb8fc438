"""A folder of pictures with a folder a class below it."""

from collections.abc import Iterator
from pathlib import Path

from xfm.data.tables.records import Records
from xfm.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
COLUMNS = ("image", "label")


def read_folder(path: Path) -> Records:
    """Every picture below `path`/CLASS/, in the order of the names; the columns are `image` and `label`.

    Raises:
        UserError: there is no such folder, no folder of a class, or one of them holds no picture.
    """
    if not path.is_dir():
        raise UserError(f"{path} does not exist; put a folder there with a folder of pictures a class")
    classes = sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
    if not classes:
        raise UserError(f"{path} holds no folders; put the pictures of each class into a folder of its name")
    files = {one: sorted(_pictures(one)) for one in classes}
    if empty := [one for one, found in files.items() if not found]:
        raise UserError(
            f"{empty[0]} holds no pictures ({', '.join(sorted(SUFFIXES))}); add some, or remove the folder"
        )
    pairs = [(file, one.name) for one, found in files.items() for file in found]
    rows = (
        (number, {"image": file.absolute(), "label": label})
        for number, (file, label) in enumerate(pairs, start=1)
    )
    return Records(COLUMNS, rows)


def _pictures(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield path
