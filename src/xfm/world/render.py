"""Draws scenes: integer alpha blending of cached sprites on cached backgrounds."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xfm.world import palette
from xfm.world.catalog import ObjectType
from xfm.world.rng import Rng
from xfm.world.scene import Scene


class Renderer:
    """Draws scenes of one picture size. Keeps resized sprites and backgrounds."""

    def __init__(self, image_size: int, quality: int = 90) -> None:
        self.image_size, self.quality = image_size, quality
        self._sprites: dict[tuple[int, int, int], tuple[NDArray[np.uint16], NDArray[np.uint16]]] = {}
        self._patterns = _patterns(image_size)
        self._backgrounds: dict[tuple[int, str], NDArray[np.int16]] = {}

    def sprite(
        self, kind: ObjectType, width: int, height: int
    ) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """A resized picture: colour times opacity [h, w, 3] (0..65025), transparency [h, w, 1] (0..255)."""
        key = (kind.index, width, height)
        if key not in self._sprites:
            # Premultiplied while resizing, so that invisible pixels do not bleed into the edges.
            picture = Image.fromarray(kind.sprite, "RGBA").convert("RGBa")
            resized = np.array(picture.resize((width, height), Image.Resampling.HAMMING)).astype(np.uint16)
            self._sprites[key] = (resized[..., :3] * np.uint16(255), np.uint16(255) - resized[..., 3:])
        return self._sprites[key]

    def render(self, scene: Scene) -> NDArray[np.uint8]:
        """Pixels [S, S, 3] uint8 of a scene."""
        key = (scene.background.colour, scene.background.style)
        if key not in self._backgrounds:
            rgb = np.array(palette.BACKGROUNDS[scene.background.colour][1], np.int16)
            self._backgrounds[key] = rgb + self._patterns[scene.background.style][..., None]
        shifted = self._backgrounds[key] + np.int16(scene.background.shift)
        canvas = np.clip(shifted, 0, 255).astype(np.uint16)
        for item in scene.objects:
            colour, clear = self.sprite(item.kind, item.width, item.height)
            view = canvas[item.top : item.top + item.height, item.left : item.left + item.width]
            np.floor_divide(colour + view * clear + np.uint16(127), np.uint16(255), out=view)
        return canvas.astype(np.uint8)

    def encode(self, scene: Scene) -> bytes:
        """A scene as a JPEG, without chroma subsampling."""
        buffer = io.BytesIO()
        Image.fromarray(self.render(scene)).save(buffer, "JPEG", quality=self.quality, subsampling=0)
        return buffer.getvalue()


def _patterns(side: int) -> dict[str, NDArray[np.int16]]:
    """Brightness offsets [S, S] of every style."""
    ramp = (np.arange(side) * 36 // max(1, side - 1) - 18).astype(np.int16)
    rows, columns = np.mgrid[:side, :side]
    rng = Rng("noise")  # the same grain in every world
    noise = np.array([rng.below(13) - 6 for _ in range(side * side)], np.int16).reshape(side, side)
    period = max(4, side // 12)
    dots = ((rows % period < period // 3) & (columns % period < period // 3)).astype(np.int16)
    return {
        "plain": np.zeros((side, side), np.int16),
        "down": np.repeat(ramp[:, None], side, 1),
        "right": np.repeat(ramp[None], side, 0),
        "diagonal": ((ramp[:, None] + ramp[None]) // 2).astype(np.int16),
        "noise": noise,
        "stripes": (((rows + columns) // period % 2) * 10 - 5).astype(np.int16),
        "dots": dots * np.int16(-14) + np.int16(2),
    }
