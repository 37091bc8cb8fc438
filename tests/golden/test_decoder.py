"""The decoder of the recorded question answering and captioning."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.golden.recorded import Recorded
from xfm.interop.published.names import to_published
from xfm.modeling.decoder import Decoder
from xfm.modeling.xfm import XFM

STATES = {"rtol": 0.0, "atol": 2e-5}
SUMS = {"rtol": 2e-5, "atol": 2e-5}


@pytest.fixture(scope="module")
def inputs(recorded: Recorded) -> dict[str, Tensor]:
    return recorded.inputs | recorded.arrays("downstream_inputs.safetensors")


@pytest.fixture(scope="module")
def outputs(recorded: Recorded) -> dict[str, Tensor]:
    return recorded.arrays("downstream_outputs.safetensors")


@pytest.fixture(scope="module")
def model(recorded: Recorded) -> XFM:
    return recorded.model()


def loss_per_sequence(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """[N] summed next-token cross-entropies, padding ignored."""
    targets = ids[:, 1:].masked_fill(~mask[:, 1:], -100)
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="none").sum(1)


def fused_questions(model: XFM, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    ids, mask = inputs["vqa_question_ids"], inputs["vqa_question_atts"].bool()
    return model.fuse(model.encode_text(ids, mask), mask, model.encode_image(inputs["image"])), mask


@torch.no_grad()
def test_answers(model: XFM, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    ids, mask = inputs["vqa_answer_ids"], inputs["vqa_answer_atts"].bool()
    question = torch.arange(4).repeat_interleave(inputs["vqa_k"])  # of each answer
    decoder = Decoder.from_fusion(model).eval()
    fused, fused_mask = fused_questions(model, inputs)
    torch.testing.assert_close(fused, outputs["vqa/question_output"], **STATES)
    for index, rows in ((question, slice(None)), (None, question)):
        logits = decoder(ids, mask, fused[rows], fused_mask[rows], index)
        torch.testing.assert_close(logits, outputs["vqa/answer_logits"], **STATES)
        losses = loss_per_sequence(logits, ids, mask)
        torch.testing.assert_close(losses, outputs["vqa/answer_loss_per_sequence"], **SUMS)


def published_names(model: XFM, decoder: Decoder) -> dict[str, Tensor]:
    """Gradients under the names of the published question answering."""
    own = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    copied = {
        (f"fusion_{name}" if name.startswith("head.") else f"fusion.{name}"): p.grad
        for name, p in decoder.named_parameters()
        if p.grad is not None
    }
    ours = {
        name.replace("text_encoder.roberta.", "text_encoder."): gradient
        for name, gradient in to_published(own, model.config).items()
    }
    return ours | {
        name.replace("fusion_encoder.", "text_decoder."): gradient
        for name, gradient in to_published(copied, model.config).items()
    }


def test_the_loss_and_its_gradients(recorded: Recorded, inputs: dict[str, Tensor]) -> None:
    model = recorded.model()
    decoder = Decoder.from_fusion(model).eval()
    ids, mask = inputs["vqa_answer_ids"], inputs["vqa_answer_atts"].bool()
    question = torch.arange(4).repeat_interleave(inputs["vqa_k"])
    losses = loss_per_sequence(decoder(ids, mask, *fused_questions(model, inputs), question), ids, mask)
    loss = (inputs["vqa_weights"] * losses).sum() / len(inputs["image"])
    assert loss.item() == pytest.approx(
        recorded.json("downstream_scalars.json")["losses"]["vqa/loss"], rel=2e-5
    )

    loss.backward()
    expected = {
        name: norm for name, (norm, _) in recorded.json("downstream_grads.json")["grads"]["vqa/loss"].items()
    }
    ours = published_names(model, decoder)
    largest = max(expected.values())
    assert set(expected) <= set(ours)
    for name, gradient in ours.items():
        norm = gradient.norm().item()
        if name.endswith(".key.bias"):  # zero but for rounding
            assert norm <= 1e-5 * largest, name
        else:
            assert norm == pytest.approx(expected.get(name, 0.0), rel=1e-4, abs=1e-6 * largest), name


@torch.no_grad()
def test_captions_of_pictures(model: XFM, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    decoder = Decoder.from_fusion(model, model.config.vision.width).eval()
    ids, mask = inputs["text_ids"], inputs["text_atts"].bool()
    image = model.encode_image(inputs["image"])
    logits = decoder(ids, mask, image, torch.ones(image.shape[:2], dtype=torch.bool))
    torch.testing.assert_close(logits, outputs["decoder_on_vision/logits"], **STATES)
    losses = loss_per_sequence(logits, ids, mask)
    torch.testing.assert_close(losses, outputs["decoder_on_vision/loss_per_sequence"], **SUMS)
