"""Recorded question answering, its ranking, and the decoder over pictures."""

import pytest
import torch
from torch import Tensor

from tests.golden.compare import SUMS, check, check_gradients, check_loss, gradients
from tests.golden.recorded import Recorded
from xfm.modeling.decoder import Decoder
from xfm.modeling.task_models import Answerer
from xfm.objectives.sequences import sequence_losses
from xfm.tasks.answers import PublishedRanking, rank_as_published


def answerer(recorded: Recorded) -> Answerer:
    module = recorded.task_model("vqa")
    assert isinstance(module, Answerer)
    return module


def owners(recorded: Recorded) -> Tensor:
    """The question of each answer."""
    counts = recorded.inputs["vqa_k"]
    return torch.arange(len(counts)).repeat_interleave(counts)


@torch.no_grad()
def test_answers(recorded: Recorded) -> None:
    module, question, answer = (
        answerer(recorded),
        recorded.tokens("vqa_question"),
        recorded.tokens("vqa_answer"),
    )
    memory = module.fuse(recorded.inputs["image"], question)
    check(recorded, "vqa/question_output", memory)
    owner = owners(recorded)
    for index, rows in ((owner, slice(None)), (None, owner)):
        logits = module.decoder(answer.ids, answer.mask, memory[rows], question.mask[rows], index)
        check(recorded, "vqa/answer_logits", logits)
        check(recorded, "vqa/answer_loss_per_sequence", sequence_losses(logits, answer), SUMS)


def test_the_loss_and_its_gradients(recorded: Recorded) -> None:
    """Answers are weighted by their votes, and the loss is averaged over the pictures."""
    module, answer = answerer(recorded), recorded.tokens("vqa_answer")
    logits = module(
        recorded.inputs["image"], recorded.tokens("vqa_question"), answer, question_index=owners(recorded)
    )
    losses = sequence_losses(logits, answer)
    loss = (recorded.inputs["vqa_weights"] * losses).sum() / len(recorded.inputs["image"])
    check_loss(recorded, "vqa/loss", loss)
    loss.backward()
    check_gradients(recorded, "vqa/loss", gradients(module, recorded.config))


@pytest.fixture
def ranking(recorded: Recorded) -> PublishedRanking:
    module = answerer(recorded)
    with torch.no_grad():
        memory = module.fuse(recorded.inputs["image"], recorded.tokens("vqa_question"))
        shortlist = recorded.outputs["vqa/rank_topk_ids"].shape[1]
        return rank_as_published(module.decoder, recorded.tokens("vqa_cand"), memory, shortlist)


def test_the_published_ranking(recorded: Recorded, ranking: PublishedRanking) -> None:
    check(recorded, "vqa/rank_first_token_prob", ranking.first)
    check(recorded, "vqa/rank_candidate_loss", ranking.losses, SUMS)
    check(recorded, "vqa/rank_topk_probs", ranking.probabilities)
    assert torch.equal(ranking.kept, recorded.outputs["vqa/rank_pre_topk_ids"])
    assert torch.equal(ranking.order, recorded.outputs["vqa/rank_topk_ids"])
    best = ranking.first.gather(1, ranking.kept)
    check(recorded, "vqa/rank_logprob_sum_pre_order", best.log() - ranking.losses, SUMS)


@torch.no_grad()
def test_the_first_token_sees_all_of_the_question(recorded: Recorded) -> None:
    """The published ranking attends the padding of the questions."""
    module, question = answerer(recorded), recorded.tokens("vqa_question")
    memory = module.fuse(recorded.inputs["image"], question)
    begin = recorded.inputs["vqa_cand_ids"][:1, :1].expand(len(memory), 1)
    logits = module.decoder(begin, torch.ones_like(begin).bool(), memory, torch.ones_like(question.mask))
    check(recorded, "vqa/rank_first_token_logits", logits[:, 0])


@torch.no_grad()
def test_captions_of_pictures(recorded: Recorded) -> None:
    """Not recorded where the widths differ: the decoder of answers cannot attend a picture then."""
    if "decoder_on_vision/logits" not in recorded.outputs:
        pytest.skip("this folder records no decoder over pictures")
    model, tokens = recorded.model(), recorded.tokens("text")
    decoder = Decoder.from_fusion(model, model.config.vision.width).eval()
    image = model.encode_image(recorded.inputs["image"])
    logits = decoder(tokens.ids, tokens.mask, image, torch.ones(image.shape[:2], dtype=torch.bool))
    check(recorded, "decoder_on_vision/logits", logits)
    check(recorded, "decoder_on_vision/loss_per_sequence", sequence_losses(logits, tokens), SUMS)
