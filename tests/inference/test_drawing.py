"""Boxes and heat maps on pictures."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from tests.refusals import expect_refusal
from xfm.inference.drawing import COLOURS, draw_boxes, draw_heat, sheet


def box(left: float, top: float, right: float, bottom: float, label: str = "") -> dict[str, Any]:
    return {"label": label, "box": {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}}


def coloured(image: Image.Image, colour: str) -> np.ndarray:
    return (np.asarray(image) == np.array(ImageColor.getrgb(colour))).all(-1)


sides = st.integers(8, 60)


@given(st.integers(0, 40), st.integers(0, 30), sides, sides, st.sampled_from([0, 200, 480]))
def test_a_box_is_drawn_where_it_is(left: int, top: int, width: int, height: int, least: int) -> None:
    """Its outline reaches just as far as the box, in a picture that is enlarged by whole steps."""
    picture = Image.new("RGB", (110, 100), "white")
    drawn = draw_boxes(picture, [box(left, top, left + width, top + height)], least_side=least)
    scale = drawn.width // 110
    assert drawn.size == (110 * scale, 100 * scale)
    assert max(drawn.size) >= least
    rows, columns = np.nonzero(coloured(drawn, COLOURS[0]))
    assert (columns.min(), rows.min()) == (left * scale, top * scale)
    assert (columns.max(), rows.max()) == (
        min((left + width) * scale, drawn.width - 1),
        min((top + height) * scale, drawn.height - 1),
    )
    middle = drawn.getpixel((int((left + width / 2) * scale), int((top + height / 2) * scale)))
    assert middle == (255, 255, 255)
    assert not np.asarray(picture).min() < 255  # the given picture is as it was


def test_texts_stand_beside_one_another() -> None:
    """Many boxes at one place: each text has its colour, none hides another while there is room."""
    same = [box(40, 40, 60, 60, f"thing {n}") for n in range(4)]
    drawn = draw_boxes(Image.new("RGB", (100, 100), "white"), same)
    areas = [coloured(drawn, colour).sum() for colour in COLOURS[:4]]
    assert min(areas) > 300


@pytest.mark.parametrize("size", [(4, 4), (30, 400), (2000, 1200)])
def test_any_size_and_any_box(size: tuple[int, int]) -> None:
    far = [
        box(-50, -5, 9e9, 1e4, "a very long text " * 20),
        box(3, 3, 1, 1, "turned\nround"),
        box(0, 0, 0, 0),
    ]
    assert draw_boxes(Image.new("RGB", size), far).mode == "RGB"


@pytest.mark.parametrize("wrong", [{"label": "a"}, {"box": {"xmin": 1}}, {"box": [1, 2, 3, 4]}])
def test_what_is_no_box_is_named(wrong: dict[str, Any]) -> None:
    with expect_refusal("is no box"):
        draw_boxes(Image.new("RGB", (9, 9)), [wrong])


def test_a_missing_picture_is_named() -> None:
    with expect_refusal("no/picture.png", "cannot be read"):
        draw_boxes(Path("no/picture.png"), [])


def test_heat_darkens_where_it_is() -> None:
    picture = Image.new("RGB", (90, 60), (240, 240, 240))
    heat = np.zeros((2, 3), dtype=np.float32)
    assert np.array_equal(np.asarray(draw_heat(picture, heat, least_side=0)), np.asarray(picture))
    heat[1, 2] = 5
    drawn = np.asarray(draw_heat(picture, heat, least_side=0)).astype(int)
    assert drawn.shape == (60, 90, 3)
    brightness = drawn.sum(-1)
    row, column = np.unravel_index(brightness.argmin(), brightness.shape)
    assert row >= 40
    assert column >= 70
    assert (drawn[:20, :30] == 240).all()
    twice = np.asarray(draw_heat(picture, 3 * heat, least_side=0)).astype(int)
    assert abs(twice - drawn).max() <= 1  # a map is relative to its own maximum


def test_a_sheet_holds_all_pictures() -> None:
    tiles = [Image.new("RGB", (50, 40), colour) for colour in ("red", "green", "blue")]
    whole = sheet(tiles, ["a", "b", "c"], columns=2, title="three")
    for colour in ("red", "green", "blue"):
        assert coloured(whole, colour).sum() == 50 * 40


def test_a_text_of_any_length_is_cut_at_once() -> None:
    began = time.process_time()
    draw_boxes(Image.new("RGB", (300, 200), "white"), [box(5, 5, 50, 50, "a long phrase " * 20_000)])
    assert time.process_time() - began < 5
