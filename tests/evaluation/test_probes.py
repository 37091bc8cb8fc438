"""What the suite probes: views of a picture, and what they are compared with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from xfm.config.evaluation import EvaluationConfig
from xfm.config.training import Precision
from xfm.evaluation.context import Context
from xfm.evaluation.parts.probes import MAX, QUARTERS, WHOLE, folds_of, patch_views, probe
from xfm.evaluation.parts.zero_shot import FUNCTION_WORDS, IGNORED, mask_captions, predict_masked
from xfm.models.features import Encoder, encode_images
from xfm.models.folder import Pretrained
from xfm.tasks.images import TaskImages


def test_views_of_a_picture_are_pools_of_its_patches(pretrained: Pretrained) -> None:
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder = Encoder(pretrained.model, pretrained.tokenizer, Precision.FP32)
    views = patch_views(encoder, pixels.split(2), 3)
    with torch.no_grad():
        grid = pretrained.model.encode_image(pixels)[:, 1:].unflatten(1, (4, 4))  # [3, 4, 4, D]
    np.testing.assert_allclose(views[WHOLE], grid.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(views[MAX], grid.amax((1, 2)), atol=1e-5)
    quarters = [
        grid[:, row : row + 2, column : column + 2].mean((1, 2)) for row in (0, 2) for column in (0, 2)
    ]
    found = views[QUARTERS].reshape(3, -1, 4)  # [3, D, cell]
    np.testing.assert_allclose(found, torch.stack(quarters, dim=2), atol=1e-5)


def test_training_rows_choose_view_and_penalty() -> None:
    """The test rows' labels are not even given; a view that tells the label wins over noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=300)
    told = rng.normal(size=(400, 5)).astype(np.float32)
    told[:, 2] += np.r_[labels, np.repeat([0, 1], 50)] * 4
    noise = rng.normal(size=(400, 5)).astype(np.float32)
    folds = folds_of(np.arange(300), seed=1)
    found, chosen = probe({"noise": noise, "told": told}, labels, folds, [1.0, 1e-6])
    assert chosen == {"view": "told", "inverse_penalty": 1.0}
    assert (found == np.repeat([0, 1], 50)).mean() > 0.9


def test_from_scratch_is_another_model_of_the_same_shape(pretrained: Pretrained) -> None:
    state, config = torch.get_rng_state(), EvaluationConfig(seed=7)
    pictures = TaskImages(pretrained.preprocessing)
    context = Context(pretrained, Path(), config, torch.device("cpu"), pictures)
    twin = context.scratch.model
    assert torch.equal(state, torch.get_rng_state())
    ours, theirs = pretrained.model.state_dict(), twin.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    name = "vision.patch_embed.weight"
    assert not torch.equal(ours[name], theirs[name])
    assert torch.equal(theirs[name], context.scratch.model.state_dict()[name])


CAPTIONS = [
    "a red square left of a blue square",
    "The YELLOW square, it is!",
    "a purplish rhombus",
    "it is of the",
]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_masks_cover_whole_content_words(pretrained: Pretrained, share: float) -> None:
    tokenizer = pretrained.tokenizer
    tokens, labels = mask_captions(tokenizer, CAPTIONS, share, seed=0)
    read = [CAPTIONS[0], "the yellow square it is", *CAPTIONS[2:]]
    plain = tokenizer.encode_batch(read, 40)
    chosen = labels != IGNORED
    assert torch.equal(torch.where(chosen, labels, tokens.ids), plain.ids)
    assert (tokens.ids[chosen] == tokenizer.mask).all()
    for (listed, numbers), row in zip(tokenizer.encode_lists(read, 40), chosen, strict=True):
        ids, gaps = torch.tensor(listed), row[: len(listed)]
        words = torch.tensor([-1 if number is None else number for number in numbers])
        assert not row[len(listed) :].any()
        spelled = {w: tokenizer.decode(ids[words == w]).strip() for w in words.unique().tolist() if w >= 0}
        content = [w for w, text in spelled.items() if text not in FUNCTION_WORDS]
        hit = set(words[gaps].tolist())
        assert hit <= set(content)
        assert len(hit) == (max(1, round(share * len(content))) if content else 0)
        for word in hit:
            assert gaps[words == word].all()


@torch.no_grad()
def test_predictions_equal_one_caption_at_a_time(pretrained: Pretrained) -> None:
    model = pretrained.model
    encoder = Encoder(model, pretrained.tokenizer, Precision.FP32, batch_size=3)
    tokens, labels = mask_captions(pretrained.tokenizer, CAPTIONS, 0.5, seed=0)
    pixels, index = torch.randn(2, 3, 32, 32), torch.tensor([1, 0, 1, 0])
    images = encode_images(encoder, [pixels], 2)
    with_picture, without = predict_masked(encoder, tokens, labels, [(images, index), None])
    expected_with, expected_without = [], []
    for row in range(len(CAPTIONS)):
        mask = tokens.mask[row]
        ids, gaps = tokens.ids[row][mask][None], (labels[row] != IGNORED)[mask]
        states = model.encode_text(ids, mask[mask][None])
        expected_without += model.language_logits(states[0, gaps]).argmax(-1).tolist()
        fused = model.fuse(states, mask[mask][None], model.encode_image(pixels[index[row]][None]))
        expected_with += model.fusion_logits(fused[0, gaps]).argmax(-1).tolist()
    assert with_picture.tolist() == expected_with
    assert without.tolist() == expected_without
    assert len(expected_with) == (labels != IGNORED).sum()
