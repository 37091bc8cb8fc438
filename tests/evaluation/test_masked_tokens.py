import numpy as np
import pytest
import torch

from xfm.config.training import Precision
from xfm.evaluation.parts.zero_shot import FUNCTION_WORDS, IGNORED, mask_captions, predict_masked
from xfm.models.features import Encoder, encode_images
from xfm.models.folder import Pretrained

CAPTIONS = [
    "a red square left of a blue square",
    "The YELLOW square, it is!",
    "a purplish rhombus",
    "it is of the",
]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_masks_cover_whole_content_words(pretrained: Pretrained, share: float) -> None:
    tokenizer = pretrained.tokenizer
    masked = mask_captions(tokenizer, CAPTIONS, share, seed=0)
    plain = tokenizer.encode_batch([CAPTIONS[0], "the yellow square it is", *CAPTIONS[2:]], 40)
    chosen = masked.labels != IGNORED
    assert torch.equal(torch.where(chosen, masked.labels, masked.tokens.ids), plain.ids)
    assert (masked.tokens.ids[chosen] == tokenizer.mask).all()
    for ids, words, gaps in zip(plain.ids, plain.word_ids, chosen, strict=True):
        spelled = {w: tokenizer.decode(ids[words == w]).strip() for w in words.unique().tolist() if w >= 0}
        content = [w for w, text in spelled.items() if text not in FUNCTION_WORDS]
        hit = set(words[gaps].tolist())
        assert hit <= set(content)
        assert len(hit) == (max(1, round(share * len(content))) if content else 0)
        for word in hit:
            assert gaps[words == word].all()


def test_masks_follow_from_the_seed(pretrained: Pretrained) -> None:
    first, again, other = (mask_captions(pretrained.tokenizer, CAPTIONS * 4, 0.3, seed) for seed in (0, 0, 1))
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.labels, other.labels)


@torch.no_grad()
def test_predictions_equal_one_caption_at_a_time(pretrained: Pretrained) -> None:
    model = pretrained.model
    encoder = Encoder(model, pretrained.tokenizer, Precision.FP32, batch_size=3)
    masked = mask_captions(pretrained.tokenizer, CAPTIONS, 0.5, seed=0)
    pixels, index = torch.randn(2, 3, 32, 32), torch.tensor([1, 0, 1, 0])
    images = encode_images(encoder, [pixels], 2)
    with_picture, without = predict_masked(encoder, masked, [(images, index), None])
    expected_with, expected_without = [], []
    for row in range(len(CAPTIONS)):
        mask = masked.tokens.mask[row]
        ids, gaps = masked.tokens.ids[row][mask][None], (masked.labels[row] != IGNORED)[mask]
        states = model.encode_text(ids, mask[mask][None])
        expected_without += model.language_logits(states[0, gaps]).argmax(-1).tolist()
        fused = model.fuse(states, mask[mask][None], model.encode_image(pixels[index[row]][None]))
        expected_with += model.fusion_logits(fused[0, gaps]).argmax(-1).tolist()
    assert with_picture.tolist() == expected_with
    assert without.tolist() == expected_without
    assert len(expected_with) == len(masked.targets) == len(masked.rows_of_targets())


def test_a_picture_is_not_seen_without_one(pretrained: Pretrained) -> None:
    """The language encoder alone predicts the same whatever the fusion encoder would see."""
    encoder = Encoder(pretrained.model, pretrained.tokenizer, Precision.FP32)
    masked = mask_captions(pretrained.tokenizer, CAPTIONS, 0.5, seed=0)
    (before,) = predict_masked(encoder, masked, [None])
    with torch.no_grad():
        for parameter in pretrained.model.vision.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert np.array_equal(before, predict_masked(encoder, masked, [None])[0])
