"""Ranking by shortlist equals ranking by the likelihood of every answer."""

from pathlib import Path

import pytest
import torch

from tests.official.pictures import picture
from tests.tasks.build import build
from xfm.data.schema import Tokens
from xfm.models.decoder import Decoder
from xfm.models.folder import Pretrained
from xfm.tasks.answers import AnswerList, likeliest_answers, rank_as_published
from xfm.tasks.rows import Question
from xfm.tasks.vqa import VqaTask

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
    decoder = Decoder.from_fusion(pretrained.model).eval()
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


@pytest.mark.parametrize("count", [1, 2, 4, 10, 99])
@pytest.mark.parametrize(("shortlist", "chunk"), [(1, 1000), (3, 2), (50, 2), (50, 1000)])
def test_the_likeliest_answers_are_exact(
    pretrained: Pretrained, decoder: Decoder, count: int, shortlist: int, chunk: int
) -> None:
    """The best `count` of the list, in their order, as scoring every answer whole finds them."""
    answers = AnswerList(ANSWERS, pretrained.tokenizer)
    memory = torch.randn(7, 5, 32)
    mask = torch.arange(5) < torch.tensor([5, 3, 1, 4, 5, 2, 5])[:, None]
    with torch.no_grad():
        found = likeliest_answers(decoder, answers, memory, mask, count, shortlist, chunk=chunk)
    for row in range(7):
        scores = torch.tensor(
            [
                log_likelihood(decoder, ids[real].tolist(), memory[row, mask[row]])
                for ids, real in zip(answers.ids, answers.mask, strict=True)
            ]
        )
        best = scores.topk(min(count, len(ANSWERS)))
        assert found.index[row].tolist() == best.indices.tolist()
        torch.testing.assert_close(found.log_likelihood[row], best.values, rtol=0, atol=1e-4)


def test_an_undecided_decoder_is_cut_off(pretrained: Pretrained, decoder: Decoder) -> None:
    """It would have every prefix of every answer read; no prefix is read twice."""
    answers = AnswerList(ANSWERS, pretrained.tokenizer)
    memory, mask = torch.randn(3, 4, 32), torch.ones(3, 4, dtype=torch.bool)
    read: list[int] = []
    decoder.head.register_forward_pre_hook(lambda _, inputs: read.append(len(inputs[0])))
    prefixes = {
        tuple(ids[:length])
        for ids in (row[real].tolist() for row, real in zip(answers.ids, answers.mask, strict=True))
        for length in range(1, len(ids))
    }
    firsts = len({ids[1] for ids in prefixes if len(ids) == 2})
    with torch.no_grad():
        decoder.embeddings.words.weight.zero_()  # every answer is as likely as every other of its length
        likeliest_answers(decoder, answers, memory, mask, count=99, limit=None)
        assert sum(read) == 3 * len(prefixes)
        assert firsts > 2
        read.clear()
        likeliest_answers(decoder, answers, memory, mask, count=1, shortlist=1, limit=2)
    assert sum(read) < 3 * len(prefixes)


def test_as_many_as_are_asked_for_are_found(pretrained: Pretrained, decoder: Decoder) -> None:
    """Even where that is more than the limit of first tokens."""
    answers = AnswerList(ANSWERS, pretrained.tokenizer)
    with torch.no_grad():
        found = likeliest_answers(
            decoder, answers, torch.randn(2, 4, 32), torch.ones(2, 4, dtype=torch.bool), count=10, limit=1
        )
    assert found.log_likelihood.isfinite().all()


def test_an_empty_list_is_refused(pretrained: Pretrained) -> None:
    with pytest.raises(ValueError, match="empty"):
        AnswerList([], pretrained.tokenizer)


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
