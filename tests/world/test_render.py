import io

import numpy as np
from PIL import Image

from tests.world.conftest import draw
from xfm.world.palette import BACKGROUNDS
from xfm.world.render import Renderer
from xfm.world.scene import SIDES, STYLES, Background, Scene
from xfm.world.units import WorkerState

VISIBLE = 10  # opacity (of 255) from which a pixel counts


def test_boxes_are_the_extents_of_the_rendered_alpha(studio: WorkerState) -> None:
    """For every object at every size: the first and last row and column of the box hold visible pixels."""
    renderer = Renderer(96)
    for kind in studio.catalog.objects:
        for sides in SIDES.values():
            width, height = kind.scaled(sides[0])
            _, clear = renderer.sprite(kind, width, height)
            assert clear.shape == (height, width, 1)
            alpha = 255 - clear[..., 0]
            for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]):
                assert edge.max() >= VISIBLE, (kind.name, width, height)


def test_pixels_differ_from_the_background_inside_the_boxes_only(studio: WorkerState) -> None:
    for seed in range(40):
        scene = draw(studio, seed, 1 + seed % 5)
        pixels = studio.renderer.render(scene).astype(int)
        empty = studio.renderer.render(Scene((), scene.background, scene.image_size)).astype(int)
        changed = np.abs(pixels - empty).sum(2) > 0
        for item in scene.objects:
            box = changed[item.top : item.top + item.height, item.left : item.left + item.width]
            assert box.mean() > 0.15
            changed[item.top : item.top + item.height, item.left : item.left + item.width] = False
        assert not changed.any()


def test_blending_is_exact(studio: WorkerState) -> None:
    scene = draw(studio, 5, 3)
    pixels = studio.renderer.render(scene)
    item = scene.objects[0]
    colour, clear = studio.renderer.sprite(item.kind, item.width, item.height)
    under = studio.renderer.render(Scene((), scene.background, scene.image_size))
    under = under[item.top : item.top + item.height, item.left : item.left + item.width]
    expected = np.rint((colour.astype(float) + under.astype(float) * clear) / 255)
    drawn = pixels[item.top : item.top + item.height, item.left : item.left + item.width]
    assert np.abs(drawn - expected).max() <= 1


def test_backgrounds_stay_near_their_colour() -> None:
    renderer = Renderer(96)
    for index, (_, colour) in enumerate(BACKGROUNDS):
        for style in STYLES:
            for shift in (-8, 8):
                pixels = renderer.render(Scene((), Background(index, style, shift), 96))
                assert pixels.shape == (96, 96, 3)
                assert np.abs(pixels.astype(int) - np.array(colour)).max() <= 26
                assert np.abs(pixels.reshape(-1, 3).mean(0) - np.array(colour)).max() <= 12


def test_encoding_keeps_the_picture(studio: WorkerState) -> None:
    pixels = studio.renderer.render(draw(studio, 9, 4))
    data = studio.renderer.encode(pixels)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "JPEG"
        decoded = np.array(picture)
    assert np.abs(decoded.astype(int) - pixels).mean() < 4
    assert data == studio.renderer.encode(pixels)
