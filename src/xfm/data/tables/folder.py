"""A folder of pictures with a folder a class below it."""

from collections.abc import Iterator
from pathlib import Path

from xfm.core.errors import UserError
from xfm.data.folders import FolderReport, scan_classes
from xfm.data.pictures import PICTURE_SUFFIXES
from xfm.data.tables.records import RawRow, Records

COLUMNS = ("image", "label")


def open_folder(path: Path) -> tuple[dict[str, list[str]], FolderReport]:
    """Images below `path`/CLASS/ by class, in the order of their names, and what else is there. Raises
    UserError where there is no image."""
    if not path.is_dir():
        raise UserError(f"{path} does not exist; put a folder there with a folder of pictures a class")
    try:
        classes, report = scan_classes(path)
        folders = classes or any(one.is_dir() and not one.name.startswith(".") for one in path.iterdir())
    except OSError as error:
        raise UserError(
            f"{path}: cannot look into the folder ({error.strerror}); check its rights"
        ) from error
    if not folders:
        raise UserError(f"{path} holds no folders; put the pictures of each class into a folder of its name")
    if not classes:
        raise UserError(
            f"{path} holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}) in its folders: "
            f"{report.sentence}; add some"
        )
    return classes, report


def read_folder(path: Path) -> Records:
    """Every image below `path`/CLASS/; the columns are `image` and `label`. Raises UserError as
    `open_folder`."""
    classes, report = open_folder(path)
    root = path.absolute()

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        pairs = ((root / label / name, label) for label, names in classes.items() for name in names)
        for number, (file, label) in enumerate(pairs, start=1):
            yield RawRow(number, {"image": file, "label": label}, number)

    return Records(COLUMNS, rows, sum(map(len, classes.values())), report=report or None)
