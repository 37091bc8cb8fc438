"""Phrases and their boxes: several that are right, and pictures that are cropped and mirrored."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from tests.finetuning.conftest import SAMPLES, SHORT, on_table
from tests.reports.written import json_lines, page_of
from tests.tasks.build import build
from xfm.config.image import ImageTrainingConfig, MirrorRule, Operations
from xfm.data.transforms import Boxes, BoxFormat, BoxUnit
from xfm.finetuning.rescoring import score
from xfm.models.folder import Preprocessing, Pretrained
from xfm.objectives.fusion_losses import box_losses, nearest_boxes
from xfm.tasks.base import TaskSettings
from xfm.tasks.grounding import GroundingTask
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import Corners, Reference
from xfm.tasks.sampling import SampledRows

BOXES = st.tuples(st.floats(0, 0.7), st.floats(0, 0.7), st.floats(0.1, 0.3), st.floats(0.1, 0.3))


def corners(boxes: torch.Tensor) -> torch.Tensor:
    return Boxes(boxes, BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY).data


# ---------------------------------------------------------------- cells
def table(folder: Path, box: object, suffix: str = ".jsonl") -> Path:
    """One row about a picture of 40 x 20 pixels."""
    Image.new("RGB", (40, 20)).save(folder / "a.png")
    path = folder / f"rows{suffix}"
    if suffix == ".csv":
        path.write_text(f'image,phrase,box\na.png,a cat,"{box}"\n')
    else:
        path.write_text(json.dumps({"image": "a.png", "phrase": "a cat", "box": box}))
    return path


@pytest.mark.parametrize(
    ("suffix", "box"),
    [(".jsonl", [[0, 0, 10, 5], [20, 10, 20, 10]]), (".csv", "[[0, 0, 10, 5], [20, 10, 20, 10]]")],
)
def test_a_cell_holds_a_list_of_boxes(tmp_path: Path, suffix: str, box: object) -> None:
    (row,) = GroundingTask.read(table(tmp_path, box, suffix))
    assert row.boxes == ((0, 0, 0.25, 0.25), (0.5, 0.5, 1, 1))
    (one,) = GroundingTask.read(table(tmp_path, [[0, 0, 10, 5]]))
    assert one == GroundingTask.read(table(tmp_path, [0, 0, 10, 5]))[0]


# ---------------------------------------------------------------- the loss
@settings(max_examples=80)
@given(
    st.lists(st.tuples(BOXES, st.lists(BOXES, min_size=3, max_size=3)), min_size=1, max_size=5), st.randoms()
)
def test_the_target_is_the_box_of_least_loss(rows: list[tuple[Corners, list[Corners]]], rng) -> None:
    """Of every row the least of the losses of its boxes, by torchvision; in whatever order they stand."""
    predicted = torch.tensor([box for box, _ in rows], dtype=torch.float64).requires_grad_()
    targets = torch.tensor([own for _, own in rows], dtype=torch.float64)  # [N, 3, 4]
    l1, giou, _ = box_losses(predicted, nearest_boxes(predicted, targets))
    each = [
        (predicted - own).abs().sum(1) + generalized_box_iou_loss(corners(predicted), corners(own), eps=0)
        for own in targets.unbind(1)
    ]
    least = torch.stack(each, 1).min(1).values.mean()
    torch.testing.assert_close(l1 + giou, least)
    order = [0, 1, 2]
    rng.shuffle(order)
    again = box_losses(predicted, nearest_boxes(predicted, targets[:, order]))
    torch.testing.assert_close(again[0] + again[1], least)
    (gradient,) = torch.autograd.grad(l1 + giou, predicted)
    assert gradient.isfinite().all()


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(1, 4), min_size=2, max_size=6))
def test_a_batch_of_rows_with_different_numbers_of_boxes(pretrained, tiny_world, counts):
    """L1 and GIoU; what fills a row up changes nothing: a batch has the mean of the losses of its rows."""
    plain = GroundingTask.read(tiny_world / "tasks/grounding/train.jsonl")[: len(counts)]
    other = [(0.1 * n, 0.2, 0.1 * n + 0.3, 0.9) for n in range(3)]
    rows = [replace(row, boxes=(*row.boxes, *other[: n - 1])) for row, n in zip(plain, counts, strict=True)]
    task = build(GroundingTask, pretrained, rows)
    batch = task.collate(rows)
    with torch.no_grad():
        whole = task.loss(batch, torch.Generator()).total
        predicted = task.module(batch.pixels, batch.tokens, batch.image_index)
        alone = [task.loss(task.collate([row]), torch.Generator()).total for row in rows]
    torch.testing.assert_close(whole, torch.stack(alone).mean())
    l1, giou, _ = box_losses(predicted, nearest_boxes(predicted, batch.boxes))
    torch.testing.assert_close(whole, l1 + giou)
    for boxes, row in zip(batch.boxes, rows, strict=True):
        expected = torch.tensor([*row.boxes, *[row.boxes[0]] * (max(counts) - len(row.boxes))])
        torch.testing.assert_close(corners(boxes), expected)


# ---------------------------------------------------------------- from a table to scores
def test_a_table_of_several_boxes(model: Path, tmp_path: Path) -> None:
    lines = (SAMPLES / "boxes.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in lines]
    told = [
        {
            "image": str(SAMPLES / image),
            "phrase": phrase,
            "box": [[float(number) for number in box.split()], [0, 0, 10, 10 + n]],
        }
        for n, (image, phrase, box) in enumerate(rows)
    ]
    done = on_table(model, told, tmp_path / "run", SHORT, "grounding")
    for row, one in zip(told, done.task.train_rows, strict=False):
        assert len(row["box"]) == len(one.boxes) == 2
    assert "any of the 2 solid boxes" in page_of(tmp_path / "run")
    found = score(done.model, told, tmp_path / "scored", device="cpu", progress=False)
    written = json_lines(tmp_path / "scored" / "predictions.jsonl")
    assert all(len(line["true_boxes"]) == 2 and len(line["predicted_box"]) == 4 for line in written)
    assert found.scores["grounding/test/acc50"].n == 10


SIDE = 64
Blocks = dict[str, tuple[int, int, int, int]]
COLOURS = {"red": (230, 20, 20), "blue": (20, 20, 230)}
ALL = ImageTrainingConfig(
    crop=0.1, flip=0.5, sides=MirrorRule.LETTERS, rand_augment=2, magnitude=7, operations=Operations.COLOUR
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
        right, bottom = draw(st.integers(left + 10, high - 2)), draw(st.integers(top + 10, height))
        blocks.append((left, top, right, bottom))
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


def seen(scene, config: ImageTrainingConfig, step: int, together: bool = False):
    """Rows about a scene, for each of its blocks or one for both, the task, and what a step shows of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        painted(*scene, path)
        rows = rows_of(*scene, path)
        if together:
            rows = [Reference(path, "a block", tuple(row.boxes[0] for row in rows))]
        task = object.__new__(GroundingTask)  # without a model: what moves boxes needs none
        task.settings, task.train_rows = TaskSettings(image=config), rows
        task.pictures = TaskImages(Preprocessing(SIDE))
        views = task.views(SampledRows(rows, rows, 0, step, 0))
    return rows, task, views


@settings(max_examples=20)
@given(scenes(), st.integers(0, 10_000))
def test_a_phrase_that_names_a_side_stays_true(scene, step: int) -> None:
    for rule in MirrorRule:
        (row, *_), _, views = seen(scene, ImageTrainingConfig(flip=1.0, sides=rule), step)
        assert views[row.image].view.flip == (rule is MirrorRule.IGNORE)


@settings(max_examples=60)
@given(scenes(), st.integers(0, 10_000), st.booleans())
def test_every_box_of_a_phrase_stays_true(scene, step: int, crops: bool) -> None:
    """One phrase for both blocks: the crop shows both whole, and each box is where its colour is."""
    _, blocks = scene
    config = ImageTrainingConfig(crop=0.1 if crops else 1.0, flip=0.5)
    rows, task, views = seen(scene, config, step, together=True)
    view, boxes = views[rows[0].image], rows[0].boxes
    (shown,) = (task.as_shown(row, views) for row in rows)
    assert len(shown.boxes) == len(blocks)
    thick = max(1 / view.view.width, 1 / view.view.height) + 1.6 / SIDE
    for name, box in zip(blocks, shown.boxes, strict=True):
        assert np.abs(np.array(found(view.pixels, name)) - np.array(box)).max() <= thick
    sides = [(box[2] - box[0]) * view.view.width for box in shown.boxes]
    before = [(box[2] - box[0]) * view.size[0] for box in boxes]
    assert sides == pytest.approx(before)  # nothing is cut off


@settings(max_examples=100)
@given(scenes(), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_a_crop_shows_the_least_share(scene, least: float, step: int) -> None:
    size, _ = scene
    rows, _, views = seen(scene, ImageTrainingConfig(crop=least), step)
    view = views[rows[0].image].view
    assert view.width * view.height >= least * size[0] * size[1] - 1e-6
    assert view.left >= 0 <= view.top
    assert view.left + view.width <= size[0]
    assert view.top + view.height <= size[1]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    painted((90, 70), {"red": (5, 5, 30, 40), "blue": (50, 10, 80, 60)}, path)
    return path


def test_parts_of_a_batch_see_what_the_whole_sees(picture: Path, pretrained: Pretrained) -> None:
    """A picture that two processes have is cropped around the boxes of both their rows."""
    boxes = {"red": (0.1, 0.1, 0.3, 0.6), "blue": (0.5, 0.2, 0.9, 0.8)}
    rows = [Reference(picture, phrase, (box,)) for phrase, box in boxes.items()]
    task = build(GroundingTask, pretrained, rows, image=ALL)
    whole = task.training_batch(SampledRows(rows, rows, 0, 5, 1))
    parts = [task.training_batch(SampledRows(rows[n : n + 1], rows, n, 5, 1)) for n in (0, 1)]
    assert torch.equal(whole.boxes, torch.cat([part.boxes for part in parts]))
    assert all(torch.equal(part.pixels[0], whole.pixels[0]) for part in parts)
