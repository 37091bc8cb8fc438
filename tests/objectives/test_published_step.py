"""The benchmark of the pair step: its peer is the same model and computes the same losses and gradients."""

import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks.published_step import published_model, shared
from benchmarks.step import SIZES, Forward, Steps, kept_bytes, main, our_losses, random_pairs
from torch import Tensor, nn

from tests.alike import THOROUGH
from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.config.training import ActivationCheckpointing
from xfm.models.xfm import XFM
from xfm.training.activation_checkpointing import activation_checkpointing

TINY = ModelConfig(
    vision=VisionConfig(64, 16, width=32, depth=2, heads=4, drop_path=0.0),
    language=LanguageConfig(90, 32, 2, 4, 48, 40, dropout=0.0),
    fusion=FusionConfig(2, 4, 48, dropout=0.0),
    projection=12,
)

NARROW = ModelConfig(
    vision=VisionConfig(width=64, depth=4, heads=4),
    language=LanguageConfig(2000, 64, 4, 4, mlp_width=256),
    fusion=FusionConfig(4, 4, mlp_width=256),
)
"""The size `small`, of a third of its width and with fewer words."""


def test_the_peer_has_our_losses_and_gradients() -> None:
    torch.manual_seed(0)
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


class Saved:
    """A tensor that autograd saves; it dies with its place in the graph."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # itself it may hold the graph that holds it


def saved_bytes(forward: Forward, module: nn.Module) -> int:
    """Bytes that autograd saves in a forward pass, without the parameters'."""
    alive: weakref.WeakSet[Saved] = weakref.WeakSet()

    def pack(tensor: Tensor) -> Saved:
        alive.add(saved := Saved(tensor))
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        loss = forward()
    storages = (saved.tensor.untyped_storage() for saved in alive)
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    for parameter in module.parameters():
        sizes.pop(parameter.untyped_storage().data_ptr(), None)
    del loss
    return sum(sizes.values())


@pytest.fixture(scope="module")
def steps() -> Steps:
    dropping = replace(
        TINY, language=replace(TINY.language, dropout=0.1), fusion=replace(TINY.fusion, dropout=0.1)
    )
    return Steps(dropping, 8)


def test_what_is_kept_is_what_autograd_saves(steps: Steps) -> None:
    for forward, module in steps.forwards():
        torch.manual_seed(1)
        saved = saved_bytes(forward, module)
        torch.manual_seed(1)
        assert kept_bytes(forward) == pytest.approx(saved, rel=0.05)  # which has the batch, too


def test_what_is_computed_again_is_not_kept(steps: Steps) -> None:
    (ours, model), (theirs, _) = steps.forwards()
    sizes = []
    for rung in ActivationCheckpointing:
        with activation_checkpointing(model, rung):
            sizes.append(kept_bytes(ours))
    everything, between, inputs = sizes
    assert between < 0.6 * everything
    assert between < 0.5 * kept_bytes(theirs)
    assert inputs < 0.5 * between


def test_what_is_kept_is_counted_once_and_without_parameters() -> None:
    layer, states = nn.Linear(8, 8), torch.randn(4, 8)

    def forward() -> Tensor:
        made = states * 2
        with_gradient = layer(made)
        layer(made).exp().detach()  # kept by a graph that is gone at the end
        return (with_gradient.exp() * with_gradient.detach()).sum()

    # The input of the layer, exp's result, and the other factor: 4 x 8 numbers of four bytes; and the sum.
    assert kept_bytes(forward) == 3 * 4 * 8 * 4 + 4


def test_table_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(SIZES) == {"base", "small"}
    if not THOROUGH:
        monkeypatch.setitem(SIZES, "small", NARROW)
    written = tmp_path / "step.json"
    main(["--size", "small", "--batch", "2", "--rounds", "1", "--json", str(written)])
    found = json.loads(written.read_text())
    names = ["step/fp32", "step/bf16", "activations", "activations/nothing"]
    assert [one["name"] for one in found] == names
    assert all(one["peer"] and one["ratio"] > 0 for one in found)
    for one in found[2:]:
        assert one["ratio"] == pytest.approx(one["ours"] / one["theirs"], rel=0.01)
    assert found[2]["ratio"] < 0.6 * found[3]["ratio"]
    said = capsys.readouterr().out
    assert "small, 2 pairs, 1 rounds, activation_checkpointing selective" in said
    main(["--size", "small", "--batch", "2", "--only", "activations", "--activation_checkpointing", "none"])
    said = capsys.readouterr().out
    assert "activations " in said
    assert "step/" not in said
