from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tasks.build import build
from xfm.modeling.folder import Pretrained
from xfm.tasks.rows import Question
from xfm.tasks.vqa import VqaTask, frequent_answers, kind_key, vote_accuracy


@pytest.fixture
def rows(tiny_world: Path) -> list[Question]:
    return VqaTask.read(tiny_world / "tasks/vqa/train.jsonl")


def test_nothing_is_detached(pretrained: Pretrained, rows: list[Question]) -> None:
    task = build(VqaTask, pretrained, rows)
    task.loss(task.collate(rows[:4]), torch.Generator()).total.backward()
    model = task.module.model
    for part in (model.language.embeddings, model.vision.patch_embed, model.fusion.layers[0].attention):
        assert all(p.grad is not None and p.grad.any() for n, p in part.named_parameters() if n != "qkv.bias")


def test_the_task_itself_sees_the_picture(pretrained: Pretrained, rows: list[Question]) -> None:
    task = build(VqaTask, pretrained, rows)
    other = [replace(row, image=rows[-1].image) for row in rows[:4]]
    ours, theirs = task.collate(rows[:4]), task.collate(other)
    fused = [task.module.fuse(x.pixels, x.question, x.image_index) for x in (ours, theirs)]
    assert not torch.allclose(*fused, atol=1e-3)


def test_a_picture_is_encoded_once_for_all_its_questions(
    pretrained: Pretrained, rows: list[Question]
) -> None:
    task = build(VqaTask, pretrained, rows)
    for batch in task.batches(0, 6):
        assert len(batch.pixels) == 4  # eight rows, two of each picture
        assert batch.image_index.max() == 3


def test_answers_come_from_the_training_rows(pretrained: Pretrained, rows: list[Question]) -> None:
    task = build(VqaTask, pretrained, [*rows, replace(rows[0], answer="Yes!")])
    assert set(task.answers.answers) == {"red", "green", "blue", "yellow", "yes"}


def test_kinds_become_keys() -> None:
    assert kind_key("how many") == "how_many"
    assert kind_key("Yes/No") == "yes_no"


# ---------------------------------------------------------------- several answers
def test_votes_weigh_the_answers(pretrained: Pretrained, rows: list[Question]) -> None:
    """The loss of a question is the sum over its answers of share times the answer's loss."""
    voted = [replace(rows[0], votes=(("red", 0.75), ("blue", 0.25))), rows[1]]
    task = build(VqaTask, pretrained, rows)
    task.module.eval()

    def loss(*some: Question) -> float:
        return float(task.loss(task.collate(some), torch.Generator()).total)

    red, blue = (loss(replace(rows[0], answer=answer)) for answer in ("red", "blue"))
    assert loss(*voted) == pytest.approx((0.75 * red + 0.25 * blue + loss(rows[1])) / 2, rel=1e-4)
    assert loss(replace(rows[0], votes=((rows[0].answer, 1.0),))) == pytest.approx(loss(rows[0]), rel=1e-5)


def test_three_votes_of_ten_are_enough(rows: list[Question]) -> None:
    row = replace(rows[0], answer="red", votes=(("red", 0.7), ("blue", 0.2), ("green", 0.1)))
    assert vote_accuracy(row, "Red!") == 1.0
    assert vote_accuracy(row, "blue") == pytest.approx(2 / 3)
    assert vote_accuracy(row, "yellow") == 0.0
    assert vote_accuracy(rows[0], rows[0].answer) == 1.0


def test_answers_in_the_order_of_their_votes(rows: list[Question]) -> None:
    voted = [replace(rows[0], votes=(("red", 0.4), ("Blue", 0.6))), replace(rows[1], answer="red")]
    assert frequent_answers(voted) == ["red", "blue"]
    assert frequent_answers(voted, 1) == ["red"]
    assert frequent_answers([*voted, replace(rows[1], answer="?")]) == ["red", "blue"]


def test_the_cases_of_each_kind_are_counted(pretrained: Pretrained) -> None:
    """Kinds whose names become one metric are scored together."""
    rows = [
        Question(Path("a.png"), "who?", answer, kind)
        for answer, kind in (("x", "how many"), ("y", "how-many"), ("y", "what"))
    ]
    task = build(VqaTask, pretrained, rows)
    assert task.metrics(rows, ["y"] * 3) == {
        "accuracy": 2 / 3,
        "accuracy_how_many": 0.5,
        "accuracy_what": 1.0,
    }
    assert task.counts(rows) == {"accuracy_how_many": 2, "accuracy_what": 1}
