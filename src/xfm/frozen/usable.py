"""Features of the rows whose picture can be read; the others are left out, up to a limit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfm.data.left_out import LeftOut, UnreadablePicture
from xfm.errors import UserError
from xfm.frozen.cache import Featuriser, cached_features
from xfm.frozen.features import LabelledFeatures, chosen_rows
from xfm.frozen.source import FilePictures
from xfm.tasks.rows import Labelled


def usable_features(
    featuriser: Featuriser,
    rows: Sequence[Labelled],
    folder: Path,
    split: str,
    left_out: LeftOut,
    progress: bool = False,
) -> tuple[NDArray[np.float32], Sequence[Labelled]]:
    """Features of pictures as of `cached_features`, and the rows that they are of.

    Args:
        featuriser: the encoder.
        rows: N labelled pictures.
        folder: of the cache.
        split: what the rows are called in the bar and in messages.
        left_out: told of the rows whose picture cannot be read.
        progress: show a bar.

    Returns:
        [K, D] float32 and K rows.

    Raises:
        UserError: too many pictures cannot be read, or the disk is full; what is done by then is kept.
    """
    source = FilePictures(rows)

    def bad(index: int, reason: str) -> None:
        left_out.add(rows[index].place or str(rows[index].image), reason)

    values = cached_features(featuriser, source, folder, f"{split} pictures", progress, bad)
    absent = np.flatnonzero(np.isnan(values[:, 0]))
    for index in absent.tolist():  # of an earlier run, too, which the cache remembers
        bad(index, _why(source, index))
    left_out.count(split, split, len(rows), len(absent))
    if not len(absent):
        return values, rows
    kept = chosen_rows(LabelledFeatures(values, np.arange(len(rows))), ~np.isnan(values[:, 0]), folder)
    return kept.features, [rows[place] for place in kept.labels.tolist()]


def _why(source: FilePictures, index: int) -> str:
    try:
        source.picture(index)
    except UnreadablePicture as error:
        return str(error)
    raise UserError(
        f"{source.rows[index].shown}: the model makes no numbers of this picture, but NaN; choose another "
        "precision, or look at the model"
    )
