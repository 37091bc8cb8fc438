"""Phrases of which several boxes are right: how they are read, learned and scored."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.ops import generalized_box_iou_loss

from tests.alike import thorough
from tests.finetuning.conftest import SAMPLES, SHORT, on_table
from tests.refusals import expect_refusal
from tests.reports.written import json_lines, page_of
from tests.tasks.build import build
from xfm.config.finetune import FinetuneConfig
from xfm.data.boxes import Boxes, BoxFormat, BoxUnit
from xfm.finetuning.rescoring import score
from xfm.finetuning.tuning_run import tune
from xfm.models.folder import Pretrained
from xfm.objectives.fusion_losses import box_losses, nearest_boxes
from xfm.tasks.grounding import GroundingTask
from xfm.tasks.rows import Corners, Reference

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


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ([10, 5, 40, 10], "box 2 of 3: [10, 5, 40, 10] lies outside"),
        ([1, 2, 3], "has box 2 of 3: 3 numbers, not four"),
        ([5, 5, 0, 4], "box 2 of 3: [5, 5, 0, 4] has no area"),
        ([1, 2, "x", 4], "not a list of numbers"),
        ([], "not a list of numbers"),
        (7, "not a list of numbers"),
        (None, "not a list of numbers"),
    ],
)
def test_every_box_is_looked_at(tmp_path: Path, wrong: object, named: str) -> None:
    good = [0, 0, 10, 5]
    with expect_refusal("rows.jsonl:1", '"box"', named):
        GroundingTask.read(table(tmp_path, [good, wrong, good]))
    with expect_refusal("rows.jsonl:1", '"box"', "257 lists of numbers, more than 256"):
        GroundingTask.read(table(tmp_path, [good] * 257))


# ---------------------------------------------------------------- the loss
@settings(max_examples=80, deadline=None)
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


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(1, 4), min_size=2, max_size=6))
def test_a_batch_of_rows_with_different_numbers_of_boxes(
    pretrained: Pretrained, tiny_world: Path, counts: list[int]
) -> None:
    """What fills a row up changes nothing: the loss of a batch is the mean of those of its rows."""
    plain = GroundingTask.read(tiny_world / "tasks/grounding/train.jsonl")[: len(counts)]
    other = [(0.1 * n, 0.2, 0.1 * n + 0.3, 0.9) for n in range(3)]
    rows = [replace(row, boxes=(*row.boxes, *other[: n - 1])) for row, n in zip(plain, counts, strict=True)]
    task = build(GroundingTask, pretrained, rows)
    with torch.no_grad():
        whole = task.loss(task.collate(rows), torch.Generator()).total
        alone = [task.loss(task.collate([row]), torch.Generator()).total for row in rows]
    torch.testing.assert_close(whole, torch.stack(alone).mean())
    batch = task.collate(rows)
    for boxes, row in zip(batch.boxes, rows, strict=True):
        expected = torch.tensor([*row.boxes, *[row.boxes[0]] * (max(counts) - len(row.boxes))])
        torch.testing.assert_close(corners(boxes), expected)


@thorough
def test_it_learns_one_of_them_and_not_what_lies_between(pretrained: Pretrained, tiny_world: Path) -> None:
    """Both squares of each picture are right: the mean of the two boxes would be a hit of neither."""
    read = GroundingTask.read(tiny_world / "tasks/grounding/train.jsonl")
    both = {row.image: [one.boxes[0] for one in read if one.image == row.image] for row in read}
    rows = [Reference(image, "a square", tuple(boxes)) for image, boxes in both.items() if len(boxes) > 1][:6]
    assert len(rows) > 2
    task = build(GroundingTask, pretrained, rows)
    tune(task, FinetuneConfig(steps=120, batch_size=6, lr=3e-3))
    found = task.predict(rows)
    assert task.metrics(rows, found)["acc50"] == 1.0
    assert all(task.case(row, one).right for row, one in zip(rows, found, strict=True))
    swapped = [replace(row, boxes=row.boxes[::-1]) for row in rows]
    assert task.metrics(swapped, found) == task.metrics(rows, found)
    assert task.chance(rows, 0).keys() == task.metrics(rows, found).keys()


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
