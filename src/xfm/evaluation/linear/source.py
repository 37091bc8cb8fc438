"""Lists of labelled pictures, wherever they lie."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import center_crop, resize

from xfm.config.linear import FeatureConfig, Framing
from xfm.data.tasks import load_image
from xfm.errors import UserError
from xfm.modeling.folder import Preprocessing
from xfm.tasks.pictures import normalise, squash
from xfm.tasks.rows import Labelled

STRIP = 16  # sides of longer strips have this ratio at most when their middle is cut out


class PictureSource(Protocol):
    """Pictures by index."""

    def __len__(self) -> int:
        """Number of pictures N."""
        ...

    def picture(self, index: int) -> Tensor:
        """The picture at an index, [3, H, W] uint8.

        Raises:
            UserError: it cannot be read.
        """
        ...

    def identity(self) -> str:
        """A digest that changes when the list or a picture of it does."""
        ...


class FilePictures:
    """The pictures of rows, from their files.

    Args:
        rows: one picture each.
    """

    def __init__(self, rows: Sequence[Labelled]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def picture(self, index: int) -> Tensor:
        """[3, H, W] uint8."""
        row = self._rows[index]
        try:
            return load_image(row.image)
        except UserError as error:
            raise UserError(f"{row.place}: {error}" if row.place else str(error)) from error

    def identity(self) -> str:
        """Of names, sizes and times of change of the files; their bytes are not read."""
        digest = hashlib.sha256()
        for row in self._rows:
            try:
                status = row.image.stat()
            except OSError as error:
                raise UserError(
                    f"{row.shown}: cannot read the picture ({error.strerror}); check the path"
                ) from error
            says = f"{row.image.name}\0{status.st_size}\0{status.st_mtime_ns}\n"
            digest.update(says.encode(errors="surrogateescape"))
        return digest.hexdigest()


class _Framed(Dataset[Tensor]):
    """Pictures in the model's shape, for torch's loader."""

    def __init__(self, source: PictureSource, frame: Callable[[Tensor], Tensor], start: int) -> None:
        self.source, self.frame, self.start = source, frame, start

    def __len__(self) -> int:
        return len(self.source) - self.start

    def __getitem__(self, index: int) -> Tensor:
        return self.frame(self.source.picture(self.start + index))


def pixel_batches(
    source: PictureSource, preprocessing: Preprocessing, config: FeatureConfig, start: int = 0
) -> Iterator[Tensor]:
    """Batches [B, 3, S, S] float32 of the pictures from `start`, in their order."""
    crop = config.framing is Framing.CENTRE
    frame = partial(centre if crop else squash, preprocessing=preprocessing)
    loader: DataLoader[Tensor] = DataLoader(
        _Framed(source, frame, start),
        config.batch_size,
        num_workers=config.workers,
        collate_fn=torch.stack,
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        yield normalise(batch, preprocessing)


def centre(picture: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The centre of a picture whose shorter side was resized to 8 / 7 of the model's: [3, H, W] -> [3, S, S].

    At 224 pixels that is 256, as ImageNet is evaluated.
    """
    height, width = preprocessing.shape
    tall, wide = picture.shape[1:]
    # Of a long strip only the middle is seen; the whole of it in that width would take all memory.
    picture = center_crop(picture, [min(tall, STRIP * wide), min(wide, STRIP * tall)])
    tall, wide = picture.shape[1:]
    if wide * height <= tall * width:  # the width is what is scarce
        across = round(width * 8 / 7)
        size = [across * tall // wide, across]
    else:
        down = round(height * 8 / 7)
        size = [down, down * wide // tall]
    return center_crop(resize(picture, size, InterpolationMode.BICUBIC, antialias=True), [height, width])
