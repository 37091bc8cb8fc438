"""Tasks of a text with one picture or two: questions, statements and phrases."""

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
from xfm.core.errors import UserError
from xfm.data.boxes import Boxes, BoxFormat, BoxUnit
from xfm.models.folder import Pretrained
from xfm.tasks.grounding import GroundingBatch, GroundingTask
from xfm.tasks.reasoning import ReasoningTask
from xfm.tasks.rows import PicturePair, Question, Reference
from xfm.tasks.vqa import VqaTask, frequent_answers, kind_key, vote_accuracy

MIRRORED = ImageTrainingConfig(flip=0.5)


@pytest.fixture
def questions(tiny_world: Path) -> list[Question]:
    return VqaTask.read(tiny_world / "tasks/vqa/train.jsonl")


@pytest.fixture
def pairs(tiny_world: Path) -> list[PicturePair]:
    return ReasoningTask.read(tiny_world / "tasks/reasoning/train.jsonl")


@pytest.fixture
def phrases(tiny_world: Path) -> list[Reference]:
    return GroundingTask.read(tiny_world / "tasks/grounding/train.jsonl")


def test_nothing_is_detached(pretrained: Pretrained, questions: list[Question]) -> None:
    task = build(VqaTask, pretrained, questions)
    task.loss(task.collate(questions[:4]), torch.Generator()).total.backward()
    model = task.module.model
    for part in (model.language.embeddings, model.vision.patch_embed, model.fusion.layers[0].attention):
        assert all(p.grad is not None and p.grad.any() for n, p in part.named_parameters() if n != "qkv.bias")


def test_the_task_itself_sees_the_picture(pretrained: Pretrained, questions: list[Question]) -> None:
    task = build(VqaTask, pretrained, questions)
    other = [replace(row, image=questions[-1].image) for row in questions[:4]]
    ours, theirs = task.collate(questions[:4]), task.collate(other)
    fused = [task.module.fuse(x.pixels, x.question, x.image_index) for x in (ours, theirs)]
    assert not torch.allclose(*fused, atol=1e-3)


def test_a_picture_is_encoded_once_for_all_its_questions(
    pretrained: Pretrained, questions: list[Question]
) -> None:
    task = build(VqaTask, pretrained, questions)
    for batch in task.batches(0, 6):
        assert len(batch.pixels) == 4  # eight questions, two of each picture
        assert batch.image_index.max() == 3


def test_answers_come_from_the_training_rows(pretrained: Pretrained, questions: list[Question]) -> None:
    task = build(VqaTask, pretrained, [*questions, replace(questions[0], answer="Yes!")])
    assert set(task.answers.answers) == {"red", "green", "blue", "yellow", "yes"}


def test_kinds_become_keys() -> None:
    assert kind_key("how many") == "how_many"
    assert kind_key("Yes/No") == "yes_no"


# ---------------------------------------------------------------- several answers
def test_votes_weigh_the_answers(pretrained: Pretrained, questions: list[Question]) -> None:
    """The loss of a question is the sum over its answers of share times the answer's loss."""
    voted = [replace(questions[0], votes=(("red", 0.75), ("blue", 0.25))), questions[1]]
    task = build(VqaTask, pretrained, questions)
    task.module.eval()

    def loss(*some: Question) -> float:
        return float(task.loss(task.collate(some), torch.Generator()).total)

    red, blue = (loss(replace(questions[0], answer=answer)) for answer in ("red", "blue"))
    assert loss(*voted) == pytest.approx((0.75 * red + 0.25 * blue + loss(questions[1])) / 2, rel=1e-4)
    assert loss(replace(questions[0], votes=((questions[0].answer, 1.0),))) == pytest.approx(
        loss(questions[0]), rel=1e-5
    )


def test_three_votes_of_ten_are_enough(questions: list[Question]) -> None:
    row = replace(questions[0], answer="red", votes=(("red", 0.7), ("blue", 0.2), ("green", 0.1)))
    assert vote_accuracy(row, "Red!") == 1.0
    assert vote_accuracy(row, "blue") == pytest.approx(2 / 3)
    assert vote_accuracy(row, "yellow") == 0.0
    assert vote_accuracy(questions[0], questions[0].answer) == 1.0


def test_answers_in_the_order_of_their_votes(questions: list[Question]) -> None:
    voted = [replace(questions[0], votes=(("red", 0.4), ("Blue", 0.6))), replace(questions[1], answer="red")]
    assert frequent_answers(voted) == ["red", "blue"]
    assert frequent_answers(voted, 1) == ["red"]
    assert frequent_answers([*voted, replace(questions[1], answer="?")]) == ["red", "blue"]


def test_the_cases_of_each_kind_are_counted(pretrained: Pretrained) -> None:
    """Kinds whose names become one metric are scored together."""
    questions = [
        Question(Path("a.png"), "who?", answer, kind)
        for answer, kind in (("x", "how many"), ("y", "how-many"), ("y", "what"))
    ]
    task = build(VqaTask, pretrained, questions)
    assert task.metrics(questions, ["y"] * 3) == {
        "accuracy": 2 / 3,
        "accuracy_how_many": 0.5,
        "accuracy_what": 1.0,
    }
    assert task.counts(questions) == {"accuracy_how_many": 2, "accuracy_what": 1}


# ---------------------------------------------------------------- two pictures
def logits_of(task: ReasoningTask, row: PicturePair) -> torch.Tensor:
    batch = task.collate([row])
    return task.module(batch.pixels, batch.tokens, batch.index)


def test_both_pictures_count_and_keep_their_sides(pretrained: Pretrained, pairs: list[PicturePair]) -> None:
    task = build(ReasoningTask, pretrained, pairs)
    first, last = pairs[0], pairs[-3]
    with torch.no_grad():
        logits = logits_of(task, first)
        for images in ((first.images[1], first.images[0]), (last.images[0], first.images[1])):
            other = logits_of(task, replace(first, images=images))
            assert not torch.allclose(logits, other, atol=1e-5)
        model, batch = task.module.model, task.collate([first])
        text = model.encode_text(batch.tokens.ids, batch.tokens.mask)
        left, right = (
            model.fuse(text, batch.tokens.mask, model.encode_image(batch.pixels[place]))[:, 0]
            for place in batch.index.t()
        )
        torch.testing.assert_close(logits, task.module.head(torch.cat([left, right], dim=-1)))


def test_sentences_about_shared_pictures_stand_together(
    pretrained: Pretrained, pairs: list[PicturePair]
) -> None:
    alone = [replace(row, images=(row.images[0], row.images[0])) for row in pairs]  # two sentences a picture
    task = build(ReasoningTask, pretrained, alone)
    for batch in task.batches(0, 6):
        assert len(batch.pixels) == 4


def test_one_picture_is_not_enough(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"images": ["a.jpg"], "text": "a", "label": true}\n')
    with pytest.raises(UserError, match=r"rows.jsonl:1: .*\"images\" is not a list of two pictures"):
        ReasoningTask.read(path)


# ---------------------------------------------------------------- phrases
@pytest.mark.parametrize("box", [[10, 5, 40, 10], [1, 2, 3], [5, 5, 0, 4]])
def test_a_box_outside_its_picture_is_named(tmp_path: Path, box: list[int]) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"image": "a.png", "phrase": "it", "box": box}))
    with pytest.raises(UserError, match=r"rows.jsonl:1: .*\"box\""):
        GroundingTask.read(path)


def test_loss_is_l1_plus_giou(pretrained: Pretrained, phrases: list[Reference]) -> None:
    task = build(GroundingTask, pretrained, phrases)
    batch = task.collate(phrases[:6])
    with torch.no_grad():
        losses, predicted = (
            task.loss(batch, torch.Generator()),
            task.module(batch.pixels, batch.tokens, batch.image_index),
        )

    def corners(boxes: torch.Tensor) -> torch.Tensor:
        return Boxes(boxes, BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY).data

    assert batch.boxes.shape == (6, 1, 4)
    l1 = (predicted - batch.boxes[:, 0]).abs().sum(dim=1).mean()
    giou = generalized_box_iou_loss(corners(predicted), corners(batch.boxes[:, 0]), reduction="mean")
    torch.testing.assert_close(losses.total, l1 + giou)


def test_pictures_are_mirrored_with_their_boxes_unless_a_phrase_names_a_side(
    pretrained: Pretrained, phrases: list[Reference]
) -> None:
    sided = [row for row in phrases if "left" in row.phrase]
    plain = [replace(row, phrase="a square") for row in phrases if "left" not in row.phrase]

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
            expected = torch.cat([1 - before[:, :1], before[:, 1:]], dim=1) if mirrored else before
            torch.testing.assert_close(box, expected)
    assert 12 < changed < 36  # of 48
    for ours, theirs in zip(batches(sided, MIRRORED), batches(sided), strict=True):
        assert torch.equal(ours.pixels, theirs.pixels)
        assert torch.equal(ours.boxes, theirs.boxes)
    later = batches(plain, MIRRORED, start=4)
    for ours, theirs in zip(later, batches(plain, MIRRORED)[4:], strict=True):
        assert torch.equal(ours.boxes, theirs.boxes)
    both = [*sided, *(replace(row, phrase="a square") for row in sided)]  # one picture, two phrases
    rows = build(GroundingTask, pretrained, both).training_rows()
    for step, (ours, theirs) in enumerate(zip(batches(both, MIRRORED), batches(both), strict=True)):
        named = ours.image_index[torch.tensor(["left" in row.phrase for row in rows(step).rows])]
        assert torch.equal(ours.pixels[named], theirs.pixels[named])


def test_metrics_are_torchvisions(pretrained: Pretrained, phrases: list[Reference]) -> None:
    task = build(GroundingTask, pretrained, phrases)
    rng = np.random.default_rng(0)
    predicted = [
        tuple(np.clip(np.array(row.boxes[0]) + rng.normal(0, 0.08, 4), 0, 1).tolist()) for row in phrases
    ]
    iou = box_iou(torch.tensor(predicted), torch.tensor([row.boxes[0] for row in phrases])).diag()
    found = task.metrics(phrases, predicted)  # type: ignore[arg-type]
    assert found["acc50"] == pytest.approx((iou >= 0.5).float().mean().item())
    assert found["mean_iou"] == pytest.approx(iou.mean().item(), abs=1e-6)
