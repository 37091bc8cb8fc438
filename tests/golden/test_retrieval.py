"""Recorded retrieval: identities as extra positives, the negatives' weights, re-ranking."""

from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.golden.compare import check, check_gradients, check_loss, gradients
from tests.golden.recorded import Recorded
from xfm.config.training import Precision
from xfm.data.tokenizer import Tokenizer
from xfm.evaluation.features import Encoder, encode_images, encode_texts
from xfm.evaluation.retrieval import score_all
from xfm.modeling.task_models import Retriever
from xfm.objectives import retrieval as objective
from xfm.objectives.itm import sampling_weights

CASES = {"retrieval": "retrieval_", "retrieval_noidx": ""}  # with the negatives of that prefix


def identity(recorded: Recorded, case: str) -> Tensor:
    found = recorded.inputs["retrieval_idx"]
    return found if case == "retrieval" else torch.arange(len(found))


@pytest.fixture
def module(recorded: Recorded) -> Retriever:
    found = recorded.task_model("retrieval")
    assert isinstance(found, Retriever)
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["itc", "itm"])
def test_losses_and_gradients(
    recorded: Recorded, module: Retriever, case: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    negatives = recorded.negatives(CASES[case])
    monkeypatch.setattr(objective, "draw_negatives", lambda *_: negatives)
    losses = objective.retrieval_losses(
        module.model,
        recorded.inputs["image"],
        recorded.tokens("text"),
        identity(recorded, case),
        torch.Generator(),
        lambda rows: rows,
    ).losses
    check_loss(recorded, f"{case}/loss_{name}", losses[name])
    losses[name].backward()
    check_gradients(recorded, f"{case}/loss_{name}", gradients(module, recorded.config))


@torch.no_grad()
def test_states(recorded: Recorded, module: Retriever) -> None:
    model, tokens, pixels = module.model, recorded.tokens("text"), recorded.inputs["image"]
    image, text = model.encode_image(pixels), model.encode_text(tokens.ids, tokens.mask)
    cosines = model.project_image(image[:, 0]) @ model.project_text(text[:, 0]).t()
    check(recorded, "retrieval/sims", cosines)
    same = identity(recorded, "retrieval")
    same = same[:, None] == same
    check(recorded, "retrieval/weights_i2t", sampling_weights(cosines / model.temperature, same))
    check(recorded, "retrieval/weights_t2i", sampling_weights(cosines.t() / model.temperature, same))
    own, negatives = torch.arange(len(text)), recorded.negatives("retrieval_")
    texts = torch.cat([own, own, negatives.text])
    images = torch.cat([own, negatives.image, own])
    fused = model.fuse(text[texts], tokens.mask[texts], image, images)
    check(recorded, "retrieval/itm_logits", model.match_logits(fused))


def test_reranking(recorded: Recorded, module: Retriever) -> None:
    """The shortlist of each query has the recorded scores, and everything else stands below it."""
    encoder = Encoder(module.model, cast(Tokenizer, None), Precision.FP32)
    images = encode_images(encoder, [recorded.inputs["image"]], len(recorded.inputs["image"]))
    texts = encode_texts(encoder, recorded.tokens("text"))

    def compare(name: str, ours: NDArray[np.float64]) -> None:
        theirs = recorded.outputs[name].double().numpy()
        listed = theirs != -100
        assert ours[listed] == pytest.approx(theirs[listed], abs=2e-5)
        for row, chosen in zip(ours, listed, strict=True):
            assert row[chosen].min() > max(row[~chosen], default=-np.inf)

    shortlist = int((recorded.outputs["retrieval/score_i2t_top3"][0] != -100).sum())
    scores = score_all(encoder, images, texts, shortlist).matching
    compare("retrieval/score_i2t_top3", scores.text)
    compare("retrieval/score_t2i_top3", scores.image.T)
