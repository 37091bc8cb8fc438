"""The objectives as pure functions, against references and laws."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou, generalized_box_iou
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from tests.modeling.build import losses_of, random_batch, tiny_model
from xfm.config.training import LossConfig
from xfm.data.schema import Batch, MaskedTokens
from xfm.objectives.contrast import multi_positive_loss, rows_loss
from xfm.objectives.fusion_losses import box_losses, corners, generalised_iou, matching_loss
from xfm.objectives.losses import masked_token_loss
from xfm.objectives.step import mim_loss, patch_pixels, pixel_loss
from xfm.objectives.text_rows import same_identity


def test_duplicates_leave_the_denominators() -> None:
    similarity = torch.randn(5, 5)
    image, text = torch.tensor([0, 1, 0, 3, 4]), torch.tensor([9, 8, 7, 6, 8])
    same = same_identity(image, text)
    assert same.nonzero().tolist() == [[0, 0], [0, 2], [1, 1], [1, 4], [2, 0], [2, 2], [3, 3], [4, 1], [4, 4]]
    by_row = []
    for scores in (similarity, similarity.t()):
        for row in range(5):
            others = [scores[row, j] for j in range(5) if j != row and not same[row, j]]
            by_row.append(torch.logsumexp(torch.stack([scores[row, row], *others]), 0) - scores[row, row])
    expected = torch.stack(by_row).view(2, 5).mean(1).sum() / 2
    own = torch.arange(5)
    found = (rows_loss(similarity, same, own) + rows_loss(similarity.t(), same, own)) / 2
    torch.testing.assert_close(found, expected)


def test_multi_positive_targets_are_uniform() -> None:
    similarity = torch.randn(4, 4)
    group = torch.tensor([0, 0, 1, 2])
    positive = group[:, None] == group
    both = [similarity.log_softmax(1), similarity.t().log_softmax(1)]
    expected = [-logp[r][positive[r]].mean() for logp in both for r in range(4)]
    torch.testing.assert_close(multi_positive_loss(similarity, positive), torch.stack(expected).mean())


def test_matching_leaves_out_rows_without_negatives_and_counts_what_is_right() -> None:
    logits = torch.randn(6, 2)
    valid = torch.tensor([True, False])
    kept = [0, 1, 2, 4]
    expected = F.cross_entropy(logits[kept], torch.tensor([1, 1, 0, 0]))
    torch.testing.assert_close(matching_loss(logits, valid)[0], expected)
    target = torch.tensor([1, 1, 0, 0, 0, 0])
    logits = F.one_hot(target, 2).float() * 5
    assert matching_loss(logits, torch.ones(2, dtype=torch.bool))[1] == 1
    assert matching_loss(-logits, torch.ones(2, dtype=torch.bool))[1] == 0


@given(st.lists(st.booleans(), min_size=2, max_size=9).filter(any), st.integers(1, 8), st.integers(0, 9))
def test_matching_of_the_parts_of_a_batch_is_that_of_the_batch(
    valid: list[bool], cut: int, seed: int
) -> None:
    """However the rows without negatives are spread; weighed by the rows of each part."""
    everyone, rows = torch.tensor(valid), len(valid)
    cut = min(cut, rows - 1)
    logits = torch.randn(3, rows, 2, generator=torch.Generator().manual_seed(seed))
    whole = matching_loss(logits.flatten(0, 1), everyone)
    parts = [
        [
            len(everyone[own]) / rows * value
            for value in matching_loss(logits[:, own].flatten(0, 1), everyone[own], everyone)
        ]
        for own in (slice(cut), slice(cut, rows))
    ]
    for mine, found in zip(whole, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(mine, sum(found, torch.zeros(())))


boxes = st.lists(
    st.tuples(*[st.floats(0.05, 0.95)] * 2, *[st.floats(0.02, 0.9)] * 2), min_size=1, max_size=6
).map(lambda rows: torch.tensor(rows, dtype=torch.float64))


@settings(max_examples=100)
@given(boxes, boxes)
def test_iou_equals_torchvision(first: torch.Tensor, second: torch.Tensor) -> None:
    iou, giou = generalised_iou(first[:, None], second)
    torch.testing.assert_close(iou, box_iou(corners(first), corners(second)))
    torch.testing.assert_close(giou, generalized_box_iou(corners(first), corners(second)))


def test_degenerate_boxes_stay_finite_and_touch_no_other_row() -> None:
    predicted = torch.tensor([[0.5, 0.5, -0.1, 0.2], [0.4, 0.4, 0.2, 0.2]], requires_grad=True)
    target = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]])
    _, giou_loss, _ = box_losses(predicted, target)
    giou_loss.backward()
    assert torch.isfinite(giou_loss)
    assert torch.isfinite(predicted.grad).all()  # type: ignore[arg-type]
    alone = 1 - generalised_iou(predicted[1:], target[1:])[1]
    assert giou_loss > alone / 2  # the second row's loss is still there


def test_masked_tokens_ignore_padding() -> None:
    states, logits = torch.randn(3, 6, 8), torch.nn.Linear(8, 11)
    positions = torch.tensor([[1, 2], [3, 0], [0, 0]])
    labels = torch.tensor([[4, 5], [6, -100], [-100, -100]])
    loss, right = masked_token_loss(states, MaskedTokens(torch.zeros(3, 6), positions, labels), logits)
    picked = torch.stack([states[0, 1], states[0, 2], states[1, 3]])
    torch.testing.assert_close(loss, F.cross_entropy(logits(picked), torch.tensor([4, 5, 6])))
    assert 0 <= right <= 1
    nothing = MaskedTokens(torch.zeros(3, 6), positions, torch.full_like(labels, -100))
    assert masked_token_loss(states, nothing, logits)[0] == 0


def test_mim_toward_pixels_is_that_of_a_masked_autoencoder() -> None:
    config = ViTMAEConfig(image_size=24, patch_size=8, hidden_size=8, num_hidden_layers=1,
                          num_attention_heads=1, decoder_hidden_size=8, decoder_num_hidden_layers=1,
                          decoder_num_attention_heads=1, norm_pix_loss=True)  # fmt: skip
    reference, pixels = ViTMAEForPreTraining(config), torch.randn(2, 3, 24, 24)
    patches, mask = reference.patchify(pixels), torch.rand(2, 9) < 0.5
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    by_channel = ((patches - mean) / (variance + 1e-6).sqrt()).view(2, 9, 64, 3).transpose(2, 3).flatten(2)
    torch.testing.assert_close(patch_pixels(pixels, 8), by_channel)
    predicted = torch.randn(2, 9, 192)
    expected = F.mse_loss(predicted[mask], by_channel[mask])
    torch.testing.assert_close(pixel_loss(predicted, pixels, mask, 8), expected)


def test_mim_teaches_only_through_the_masked_pass() -> None:
    predicted, target = (torch.randn(2, 5, 3, requires_grad=True) for _ in range(2))
    mask = torch.tensor([[True, False, False, True], [False, False, True, False]])
    loss = mim_loss(predicted, target, mask)
    loss.backward()
    assert target.grad is None
    assert predicted.grad is not None
    assert (predicted.grad[:, 1:][~mask] == 0).all()
    error = (predicted - target).detach().square()
    torch.testing.assert_close(loss.detach(), error[:, 1:][mask].mean() + error[:, 0].mean())


def test_total_is_the_weighted_sum() -> None:
    model, batch = tiny_model(), random_batch()
    weights = LossConfig(mlm=2.0, itc=0.5, box_l1=5.0)
    losses = losses_of(model, batch, weights=weights)
    expected = sum(
        getattr(weights, name.partition("/")[2]) * part.item() for name, part in losses.terms.items()
    )
    assert losses.total.item() == pytest.approx(expected, rel=1e-5)
    assert all(math.isfinite(value.item()) for value in losses.metrics.values())


def test_absent_sources_have_no_losses() -> None:
    model, batch = tiny_model(), random_batch()
    assert set(losses_of(model, Batch(0, text=batch.text)).terms) == {"text/mlm"}
    with pytest.raises(ValueError, match="nothing to learn"):
        losses_of(model, Batch(0))


def test_each_pass_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vision runs unmasked for pairs and regions together, once for targets without gradient, once masked.

    Language runs once with gradient and once without, fusion once.
    """
    model, calls, read, fused = tiny_model(), [], [], []
    forward, encode, fuse = model.vision.forward, model.language._packed, model.fusion._packed

    def see(pixels, mask=None):
        calls.append((len(pixels), mask is not None))
        return forward(pixels, mask)

    def look_up(ids, masks):
        read.append(([len(batch) for batch in ids], torch.is_grad_enabled()))
        return encode(ids, masks)

    def join(queries):
        fused.append([len(query.text) for query in queries])
        return fuse(queries)

    monkeypatch.setattr(model.vision, "forward", see)
    monkeypatch.setattr(model.language, "_packed", look_up)
    monkeypatch.setattr(model.fusion, "_packed", join)
    losses_of(model, random_batch(pairs=4, pictures=3, rows=6))
    assert sorted(calls) == [(2, False), (6, True), (7, False)]
    assert read == [([4, 6, 3], True), ([4, 6], False)]
    assert fused == [[4] * 4 + [6] * 4 + [5]]
