"""What the page searches: a collection, a folder of pictures, or pictures of the embedded world."""

from pathlib import Path
from typing import Any

from xfm.data.left_out import LeftOut
from xfm.demo.examples import Examples
from xfm.errors import UserError
from xfm.index.about import HIDDEN
from xfm.index.filling import folder_index, is_index
from xfm.index.offers import Offer
from xfm.index.opening import open_index
from xfm.modeling.folder import Pretrained

EXAMPLES = "examples"


def example_collection(examples: Examples, folder: Path, model: Pretrained) -> Path:
    """A collection of the examples' gallery, in a folder that goes when the page does.

    Args:
        examples: their pictures.
        folder: for the collection, and for the pictures as files.
        model: that makes the vectors.

    Raises:
        UserError: LanceDB is missing, or the folder cannot be written.
    """
    place = folder / EXAMPLES
    with open_index(place, model, make=True) as index:
        for name, caption in examples.gallery.items():
            path = place / name  # of the collection's folder files are shown
            path.write_bytes(examples.pictures[name])
            index.add([Offer(name, str(path), path, name, {"caption": caption})])
    return place


def picture_collection(folder: Path, model: str, left_out: LeftOut, **running: Any) -> Path:
    """The collection of a folder of pictures, filled with what is new in it.

    Raises:
        UserError: it holds no pictures, or cannot be written.
    """
    if is_index(folder):
        raise UserError(f"{folder} is a collection: give it by --index {folder}")
    known = is_index(folder / HIDDEN)  # by whichever model: the page says which
    with folder_index(folder, None if known else model, left_out, **running):
        return folder / HIDDEN
