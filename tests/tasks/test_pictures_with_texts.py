"""Tasks of a text with pictures, and answers: a shortlist ranks as the likelihood of every answer does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.official.pictures import picture
from tests.tasks.build import build
from xfm.data.schema import Tokens
from xfm.models.decoder import Decoder
from xfm.models.folder import Pretrained
from xfm.tasks.answers import AnswerList, likeliest_answers, rank_as_published
from xfm.tasks.reasoning import ReasoningTask
from xfm.tasks.rows import LabelledText, Question
from xfm.tasks.vqa import VqaTask, vote_accuracy


@pytest.fixture
def questions(tiny_world: Path) -> list[Question]:
    return VqaTask.read(tiny_world / "tasks/vqa/train.jsonl")


@pytest.fixture
def pairs(tiny_world: Path) -> list[LabelledText]:
    return ReasoningTask.read(tiny_world / "tasks/reasoning/train.jsonl")


def test_nothing_is_detached(pretrained: Pretrained, questions: list[Question]) -> None:
    task = build(VqaTask, pretrained, questions)
    task.loss(task.collate(questions[:4]), torch.Generator()).total.backward()
    model = task.module.model
    for part in (model.language.embeddings, model.vision.patch_embed, model.fusion.layers[0].attention):
        assert all(p.grad is not None and p.grad.any() for n, p in part.named_parameters() if n != "qkv.bias")


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


# ---------------------------------------------------------------- two pictures
def logits_of(task: ReasoningTask, row: LabelledText) -> torch.Tensor:
    batch = task.collate([row])
    return task.module(batch.pixels, batch.tokens, batch.index)


def test_both_pictures_count_and_keep_their_sides(pretrained: Pretrained, pairs: list[LabelledText]) -> None:
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


ANSWERS = [
    "red",
    "reddish",
    "red square",
    "square",
    "yes",
    "no",
    "where it is",
    "it is no square",
    "a",
    "blue",
]


@pytest.fixture
def decoder(pretrained: Pretrained) -> Decoder:
    decoder = Decoder(pretrained.model).eval()
    with torch.no_grad():  # sharpen it, so that answers differ in likelihood
        decoder.embeddings.words.weight.mul_(40)
    return decoder


@torch.no_grad()
def log_likelihood(decoder: Decoder, ids: list[int], memory: torch.Tensor) -> float:
    """Sum of the log-probabilities of all tokens after the begin token, one step at a time."""
    total = 0.0
    for length in range(1, len(ids)):
        prefix = torch.tensor([ids[:length]])
        everything = torch.ones(1, memory.shape[0], dtype=torch.bool)
        logits = decoder(prefix, torch.ones_like(prefix, dtype=torch.bool), memory[None], everything)
        total += logits[0, -1].log_softmax(-1)[ids[length]].item()
    return total


@pytest.mark.parametrize("count", [1, 4, 99])
@pytest.mark.parametrize(("shortlist", "chunk"), [(1, 1000), (3, 2), (50, 1000)])
def test_the_likeliest_answers_are_exact(pretrained, decoder, count, shortlist, chunk):
    """The best `count` of the list, in their order, as scoring every answer whole finds them."""
    answers = AnswerList(ANSWERS, pretrained.tokenizer)
    memory = torch.randn(7, 5, 32)
    mask = torch.arange(5) < torch.tensor([5, 3, 1, 4, 5, 2, 5])[:, None]
    with torch.no_grad():
        index, likelihood = likeliest_answers(decoder, answers, memory, mask, count, shortlist, chunk=chunk)
    for row in range(7):
        scores = torch.tensor(
            [
                log_likelihood(decoder, ids[real].tolist(), memory[row, mask[row]])
                for ids, real in zip(answers.ids, answers.mask, strict=True)
            ]
        )
        best = scores.topk(min(count, len(ANSWERS)))
        assert index[row].tolist() == best.indices.tolist()
        torch.testing.assert_close(likelihood[row], best.values, rtol=0, atol=1e-4)


def test_a_shortlist_is_ranked_as_published(pretrained: Pretrained, tmp_path: Path) -> None:
    """The task's predictions are the published ranking's, whatever number of questions it takes at a time."""
    shown = [picture(tmp_path / f"{number}.png", number) for number in range(5)]
    rows = [Question(path, f"what is {path.stem}", f"{path.stem} cats", "all") for path in shown]
    task = build(VqaTask, pretrained, rows)
    task.shortlist = 3
    with torch.inference_mode():
        task.module.eval()
        batch = task.collate(rows)
        memory = task.module.fuse(batch.pixels, batch.question, batch.image_index)
        tokens = Tokens(task.answers.ids, task.answers.mask)
        best = rank_as_published(task.module.decoder, tokens, memory, 3).order[:, 0]
        found = [task.predict(rows, batch_size=2), task.predict(rows)]
    assert found[1] == [task.answers.answers[place] for place in best.tolist()]
    assert len(found[0]) == len(rows)
