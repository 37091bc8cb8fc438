"""Pictures shrunk or encoded anew, only on request.

A JPEG is decoded at the smallest of its own scales (1/8 to 8/8) that suffices.
"""

import io
from dataclasses import dataclass

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from xfm.data.picture_formats import BROKEN, Header, PictureFormat, open_with_pillow
from xfm.data.pictures import decode

QUALITY = 90
"""Of what is shrunk, where nobody said."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Recoding:
    """Longest side in pixels (0: any), and JPEG quality for all pictures (None: only shrunk ones)."""

    max_side: int = 0
    quality: int | None = None

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the picture that is written."""
        longer = max(width, height)
        if not self.max_side or longer <= self.max_side:
            return width, height
        share = self.max_side / longer
        return max(1, round(width * share)), max(1, round(height * share))

    def touches(self, width: int, height: int) -> bool:
        """Whether a picture of this size is encoded anew."""
        return self.quality is not None or self.target(width, height) != (width, height)

    def encoded(self, data: bytes, header: Header) -> tuple[bytes, bool]:
        """The upright picture as a baseline JPEG without metadata, and whether a part of it is lost."""
        size = self.target(header.width, header.height)
        picture, partial = loaded(data, header, size)
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=QUALITY if self.quality is None else self.quality)
        return written.getvalue(), partial


def loaded(data: bytes, header: Header, size: tuple[int, int]) -> tuple[Image.Image, bool]:
    """An upright RGB picture of at least a size, and whether a part is lost; PictureError if undecodable."""
    found = drafted(data, header, size)
    if found is not None:
        return found, False
    decoded = decode(data)
    pixels = decoded.pixels  # [3, H, W]
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()), decoded.flaw is not None


def drafted(data: bytes, header: Header, size: tuple[int, int]) -> Image.Image | None:
    """The same of a complete JPEG, at the smallest scale; None of others."""
    if header.format is not PictureFormat.JPEG or header.mode not in ("RGB", "L"):
        return None
    try:
        picture = open_with_pillow(data, header.format)
        assert isinstance(picture, JpegImageFile)
        picture.draft(None, size if header.orientation < 5 else (size[1], size[0]))
        picture.load()
    except BROKEN:
        return None
    shown = picture if picture.mode == "RGB" else picture.convert("RGB")
    turn = _TURNS.get(header.orientation)
    return shown if turn is None else shown.transpose(turn)
