"""Training pictures that are cropped and mirrored: boxes and phrases stay true of what is shown."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from tests.tasks.build import build
from xfm.config.image import ImageTrainingConfig, MirrorRule, Operations
from xfm.data.transforms import names_a_side
from xfm.models.folder import Preprocessing, Pretrained
from xfm.tasks.base import TaskSettings
from xfm.tasks.grounding import GroundingTask
from xfm.tasks.images import ImageVariation, Pictures
from xfm.tasks.rows import Corners, Reference
from xfm.tasks.sampling import SampledRows

SIDE = 64
PICTURES = Pictures(Preprocessing(SIDE))
Blocks = dict[str, tuple[int, int, int, int]]
COLOURS = {"red": (230, 20, 20), "blue": (20, 20, 230)}
ALL = ImageTrainingConfig(
    crop=0.1, flip=0.5, sides=MirrorRule.SWAP, rand_augment=2, magnitude=7, operations=Operations.COLOUR
)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int], Blocks]:
    """Width and height, and two blocks side by side: left, top, right, bottom in pixels, by colour."""
    width, height = draw(st.integers(60, 160)), draw(st.integers(40, 160))
    middle = draw(st.integers(24, width - 24))
    blocks = []
    for low, high in ((0, middle), (middle, width)):
        left = draw(st.integers(low, high - 12))
        top = draw(st.integers(0, height - 12))
        blocks.append(
            (left, top, draw(st.integers(left + 10, high - 2)), draw(st.integers(top + 10, height)))
        )
    names = draw(st.permutations(list(COLOURS)))
    return (width, height), dict(zip(names, blocks, strict=True))


def painted(size: tuple[int, int], blocks: Blocks, path: Path) -> None:
    pixels = np.full((size[1], size[0], 3), 128, np.uint8)
    for name, (left, top, right, bottom) in blocks.items():
        pixels[top:bottom, left:right] = COLOURS[name]
    Image.fromarray(pixels).save(path)


def found(pixels: Tensor, name: str) -> Corners:
    """Where the block of a colour is in a shown picture, as fractions; nan where it is not."""
    red, _, blue = pixels.int()
    there = (red - blue if name == "red" else blue - red) > 40
    rows, columns = there.any(1).nonzero().flatten(), there.any(0).nonzero().flatten()
    if not len(rows):
        return (float("nan"),) * 4
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return left / SIDE, top / SIDE, right / SIDE, bottom / SIDE


def rows_of(size: tuple[int, int], blocks: Blocks, path: Path) -> list[Reference]:
    """A phrase for each block, which names its side."""
    sides = dict(zip(sorted(blocks, key=lambda name: blocks[name][0]), ("left", "right"), strict=True))
    (width, height) = size
    return [
        Reference(path, f"the {sides[name]} block", ((x / width, y / height, right / width, low / height),))
        for name, (x, y, right, low) in blocks.items()
    ]


@settings(deadline=None, max_examples=150)
@given(scenes(), st.sampled_from([MirrorRule.SWAP, MirrorRule.KEEP]), st.integers(0, 10_000), st.booleans())
def test_phrases_and_boxes_stay_true(scene, sides: MirrorRule, step: int, crops: bool) -> None:
    """Each phrase still names the side of its own block, and its box is where the block's colour is."""
    size, blocks = scene
    config = ImageTrainingConfig(crop=0.1 if crops else 1.0, flip=0.5, sides=sides)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        painted(size, blocks, path)
        rows = rows_of(size, blocks, path)
        task = grounding(rows, config)
        views = ImageVariation(config, Pictures(Preprocessing(SIDE))).views(
            SampledRows(rows, rows, 0, step, 0), task.pictures_of, task.texts_of, task.boxes_of
        )
    view = views[path]
    assert not (view.view.flip and sides is MirrorRule.KEEP)
    shown = [task.as_shown(row, views) for row in rows]
    for name, row in zip(blocks, shown, strict=True):
        thick = max(1 / (view.view.width), 1 / view.view.height) + 1.6 / SIDE
        assert np.abs(np.array(found(view.pixels, name)) - np.array(row.boxes[0])).max() <= thick
        others = [one for one in shown if one is not row]
        centre = row.boxes[0][0] + row.boxes[0][2]
        assert all(("left" in row.phrase) == (centre < one.boxes[0][0] + one.boxes[0][2]) for one in others)


@settings(deadline=None, max_examples=150)
@given(scenes(), st.integers(0, 10_000), st.booleans())
def test_every_box_of_a_phrase_stays_true(scene, step: int, crops: bool) -> None:
    """One phrase for both blocks: the crop shows both whole, and each box is where its colour is."""
    size, blocks = scene
    config = ImageTrainingConfig(crop=0.1 if crops else 1.0, flip=0.5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        painted(size, blocks, path)
        boxes = tuple(row.boxes[0] for row in rows_of(size, blocks, path))
        rows = [Reference(path, "a block", boxes)]
        task = grounding(rows, config)
        views = ImageVariation(config, Pictures(Preprocessing(SIDE))).views(
            SampledRows(rows, rows, 0, step, 0), task.pictures_of, task.texts_of, task.boxes_of
        )
    view = views[path]
    (shown,) = (task.as_shown(row, views) for row in rows)
    assert len(shown.boxes) == len(blocks)
    thick = max(1 / view.view.width, 1 / view.view.height) + 1.6 / SIDE
    for name, box in zip(blocks, shown.boxes, strict=True):
        assert np.abs(np.array(found(view.pixels, name)) - np.array(box)).max() <= thick
    sides = [(box[2] - box[0]) * view.view.width for box in shown.boxes]
    before = [(box[2] - box[0]) * view.size[0] for box in boxes]
    assert sides == pytest.approx(before)  # nothing is cut off


def grounding(rows: list[Reference], config: ImageTrainingConfig) -> GroundingTask:
    """The task without a model: what moves boxes needs none."""
    task = object.__new__(GroundingTask)
    task.settings = TaskSettings(image=config)
    task.train_rows = rows
    return task


@settings(deadline=None, max_examples=100)
@given(scenes(), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_a_crop_shows_the_least_share(scene, least: float, step: int) -> None:
    size, blocks = scene
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        painted(size, blocks, path)
        rows = rows_of(size, blocks, path)
        config = ImageTrainingConfig(crop=least)
        task = grounding(rows, config)
        views = ImageVariation(config, Pictures(Preprocessing(SIDE))).views(
            SampledRows(rows, rows, 0, step, 0), task.pictures_of, task.texts_of, task.boxes_of
        )
    view = views[path].view
    assert view.width * view.height >= least * size[0] * size[1] - 1e-6
    assert view.left >= 0 <= view.top
    assert view.left + view.width <= size[0]
    assert view.top + view.height <= size[1]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    painted((90, 70), {"red": (5, 5, 30, 40), "blue": (50, 10, 80, 60)}, path)
    return path


def test_a_batch_depends_on_seed_and_step_alone(picture: Path, pretrained: Pretrained) -> None:
    boxes = {"the left block": (0.1, 0.1, 0.3, 0.6), "blue": (0.5, 0.2, 0.9, 0.8)}
    rows = [Reference(picture, phrase, (box,)) for phrase, box in boxes.items()]
    task = build(GroundingTask, pretrained, rows, batch_size=2, image=ALL, seed=3)
    whole = list(task.batches(0, 6))
    (fifth,) = task.batches(4, 5)
    assert torch.equal(whole[4].pixels, fifth.pixels)
    assert torch.equal(whole[4].boxes, fifth.boxes)
    assert len({batch.pixels.numpy().tobytes() for batch in whole}) == len(whole)
    seen = task.collate(rows)
    assert any(not torch.equal(seen.boxes, batch.boxes) for batch in whole)
    assert torch.equal(seen.pixels, task.collate(rows).pixels)


def test_parts_of_a_batch_see_what_the_whole_sees(picture: Path, pretrained: Pretrained) -> None:
    """A picture that two processes have is cropped around the boxes of both their rows."""
    boxes = {"red": (0.1, 0.1, 0.3, 0.6), "blue": (0.5, 0.2, 0.9, 0.8)}
    rows = [Reference(picture, phrase, (box,)) for phrase, box in boxes.items()]
    task = build(GroundingTask, pretrained, rows, image=ALL)
    whole = task.training_batch(SampledRows(rows, rows, 0, 5, 1))
    parts = [task.training_batch(SampledRows(rows[n : n + 1], rows, n, 5, 1)) for n in (0, 1)]
    assert torch.equal(whole.boxes, torch.cat([part.boxes for part in parts]))
    assert all(torch.equal(part.pixels[0], whole.pixels[0]) for part in parts)


@pytest.mark.parametrize(
    ("sides", "phrase", "mirrored"),
    [
        (MirrorRule.KEEP, "the cat on the left", False),
        (MirrorRule.KEEP, "the cat", True),
        (MirrorRule.IGNORE, "the cat on the left", True),
        (MirrorRule.SWAP, "the cat on the left", True),
    ],
)
def test_who_is_mirrored(picture: Path, sides: MirrorRule, phrase: str, mirrored: bool) -> None:
    varying = ImageVariation(ImageTrainingConfig(flip=1.0, sides=sides), Pictures(Preprocessing(SIDE)))
    row = Reference(picture, phrase, ((0.0, 0.0, 1.0, 1.0),))
    texts: Callable[[Reference], tuple[str, ...]] = GroundingTask.texts_of
    views = varying.views(
        SampledRows([row], [row], 0, 0, 0), GroundingTask.pictures_of, texts, lambda row: ()
    )
    assert views[picture].view.flip == mirrored
    assert names_a_side([phrase]) == ("left" in phrase)
