import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou, generalized_box_iou_loss

from tests.tasks.build import build
from xfm.config.image import UNVARIED, ImageTrainingConfig
from xfm.data.boxes import Boxes, BoxFormat, BoxUnit
from xfm.errors import UserError
from xfm.modeling.folder import Pretrained
from xfm.tasks.grounding import GroundingBatch, GroundingTask
from xfm.tasks.rows import Reference

MIRRORED = ImageTrainingConfig(flip=0.5)


@pytest.fixture
def rows(tiny_world: Path) -> list[Reference]:
    return GroundingTask.read(tiny_world / "tasks/grounding/train.jsonl")


def test_boxes_are_corners_as_fractions(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"image": "a.png", "phrase": "it", "box": [10, 5, 20, 10]}))
    (row,) = GroundingTask.read(path)
    assert row.box == (0.25, 0.25, 0.75, 0.75)


@pytest.mark.parametrize("box", [[10, 5, 40, 10], [1, 2, 3], [5, 5, 0, 4]])
def test_a_box_outside_its_picture_is_named(tmp_path: Path, box: list[int]) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"image": "a.png", "phrase": "it", "box": box}))
    with pytest.raises(UserError, match=r"rows.jsonl:1: .*\"box\""):
        GroundingTask.read(path)


def test_loss_is_l1_plus_giou(pretrained: Pretrained, rows: list[Reference]) -> None:
    task = build(GroundingTask, pretrained, rows)
    batch = task.collate(rows[:6])
    with torch.no_grad():
        losses, predicted = (
            task.loss(batch, torch.Generator()),
            task.module(batch.pixels, batch.tokens, batch.image_index),
        )

    def corners(boxes: torch.Tensor) -> torch.Tensor:
        return Boxes(boxes, BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY).data

    l1 = (predicted - batch.boxes).abs().sum(dim=1).mean()
    giou = generalized_box_iou_loss(corners(predicted), corners(batch.boxes), reduction="mean")
    torch.testing.assert_close(losses.total, l1 + giou)


def test_pictures_are_mirrored_with_their_boxes_unless_a_phrase_names_a_side(
    pretrained: Pretrained, rows: list[Reference]
) -> None:
    sided = [row for row in rows if "left" in row.phrase]
    plain = [replace(row, phrase="a square") for row in rows if "left" not in row.phrase]

    def batches(
        some: list[Reference], image: ImageTrainingConfig = UNVARIED, start: int = 0
    ) -> list[GroundingBatch]:
        return list(build(GroundingTask, pretrained, some, image=image).batches(start, 6))

    changed = 0
    for ours, theirs in zip(batches(plain, MIRRORED), batches(plain), strict=True):
        assert torch.equal(ours.tokens.ids, theirs.tokens.ids)
        for box, before, place in zip(ours.boxes, theirs.boxes, ours.image_index, strict=True):
            mirrored = not torch.equal(ours.pixels[place], theirs.pixels[place])
            changed += mirrored
            sides = theirs.pixels[place].flip(-1) if mirrored else theirs.pixels[place]
            assert torch.equal(ours.pixels[place], sides)
            expected = torch.cat([1 - before[:1], before[1:]]) if mirrored else before
            torch.testing.assert_close(box, expected)
    assert 12 < changed < 36  # of 48
    for ours, theirs in zip(batches(sided, MIRRORED), batches(sided), strict=True):
        assert torch.equal(ours.pixels, theirs.pixels)
        assert torch.equal(ours.boxes, theirs.boxes)
    later = batches(plain, MIRRORED, start=4)
    for ours, theirs in zip(later, batches(plain, MIRRORED)[4:], strict=True):
        assert torch.equal(ours.boxes, theirs.boxes)
    both = [*sided, *(replace(row, phrase="a square") for row in sided)]  # one picture, two phrases
    drawn = build(GroundingTask, pretrained, both).drawn(0, 6)
    for ours, theirs, some in zip(batches(both, MIRRORED), batches(both), drawn, strict=True):
        named = ours.image_index[torch.tensor(["left" in row.phrase for row in some])]
        assert torch.equal(ours.pixels[named], theirs.pixels[named])


def test_metrics_are_torchvisions(pretrained: Pretrained, rows: list[Reference]) -> None:
    task = build(GroundingTask, pretrained, rows)
    rng = np.random.default_rng(0)
    predicted = [tuple(np.clip(np.array(row.box) + rng.normal(0, 0.08, 4), 0, 1).tolist()) for row in rows]
    iou = box_iou(torch.tensor(predicted), torch.tensor([row.box for row in rows])).diag()
    found = task.metrics(rows, predicted)  # type: ignore[arg-type]
    assert found["acc50"] == pytest.approx((iou >= 0.5).float().mean().item())
    assert found["mean_iou"] == pytest.approx(iou.mean().item(), abs=1e-6)
