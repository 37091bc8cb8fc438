"""The benchmark of the pair step: its peer is the same model and computes the same losses and gradients."""

from dataclasses import replace

import torch
from benchmarks.published_step import published_model, shared
from benchmarks.step import our_losses, random_pairs

from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.models.xfm import XFM

TINY = ModelConfig(
    vision=VisionConfig(64, 16, width=32, depth=2, heads=4, drop_path=0.0),
    language=LanguageConfig(90, 32, 2, 4, 48, 40, dropout=0.0),
    fusion=FusionConfig(2, 4, 48, dropout=0.0),
    projection=12,
)


def test_the_peer_has_our_losses_and_gradients() -> None:
    ours = XFM(TINY).train()
    for parameter in ours.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    theirs = published_model(ours)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    batch = random_pairs(TINY, 5)
    assert batch.patch_mask is not None
    batch = replace(batch, patch_mask=torch.rand(batch.patch_mask.shape) < 0.4)
    found = our_losses(ours, batch, torch.Generator().manual_seed(3))
    expected = theirs.losses(batch, torch.Generator().manual_seed(3))
    assert found.keys() == expected.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss, rtol=1e-5, atol=1e-5, msg=name)
    torch.stack([*found.values()]).sum().backward()
    torch.stack([*expected.values()]).sum().backward()
    by_storage = {p.data_ptr(): p for p in ours.parameters()}
    compared = 0
    for parameter, own in shared(theirs, ours):
        gradient, whole = parameter.grad, by_storage.get(own.data_ptr())
        if gradient is None or whole is None or whole.shape != own.shape:
            continue  # of heads that pairs do not train, and later parts of what is packed here
        assert whole.grad is not None
        torch.testing.assert_close(whole.grad.view_as(gradient), gradient, rtol=1e-3, atol=1e-5)
        compared += 1
    assert compared > 90
