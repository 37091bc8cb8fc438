"""What the suite probes: slot 0, and what it is compared with."""

import numpy as np
import torch

from xfm.evaluation.parts.probes import digits, random_twin
from xfm.modeling.features import Encoder, image_features
from xfm.modeling.folder import Pretrained


def test_image_features_are_slot_0(pretrained: Pretrained) -> None:
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder = Encoder(pretrained.model, pretrained.tokenizer)
    found = image_features(encoder, pixels.split(2), 5)
    with torch.no_grad():
        expected = pretrained.model.encode_image(pixels)[:, 1:].mean(dim=1)
    np.testing.assert_allclose(found, expected.numpy(), atol=0.03)


def test_random_twin_is_another_model_of_the_same_shape(pretrained: Pretrained) -> None:
    state = torch.get_rng_state()
    twin = random_twin(pretrained.model, seed=7)
    assert torch.equal(state, torch.get_rng_state())
    ours, theirs = pretrained.model.state_dict(), twin.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    name = "vision.patch_embed.weight"
    assert not torch.equal(ours[name], theirs[name])
    assert torch.equal(theirs[name], random_twin(pretrained.model, seed=7).state_dict()[name])


def test_digits_are_the_published_ones() -> None:
    images, labels = digits()
    assert images.shape == (1797, 8, 8)
    assert (images.min(), images.max()) == (0, 1)
    assert labels[:10].tolist() == list(range(10))
