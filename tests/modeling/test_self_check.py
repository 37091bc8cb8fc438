"""The self-check of a model folder: written by every save, compared by every load, named where it differs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import xfm
from tests.inference.models import save, tuned
from tests.refusals import expect_refusal
from xfm.config.artifacts import FLOAT32, HALF, CheckValues, SelfCheck, Tolerance
from xfm.data.tokenizer import train_tokenizer
from xfm.models.folder import load_model
from xfm.models.self_check import SELF_CHECK, check_image_file, differences
from xfm.serving.served import Models


# ---------------------------------------------------------------- what is stored
@pytest.mark.parametrize("kind", [None, "text-classification", "captioning"])
def test_it_is_what_pipelines_answer(kind: str | None, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", tuned(kind))
    loaded = load_model(folder)
    assert loaded.check is not None
    kept = loaded.check.values
    pretrained = replace(loaded, task=None)  # no warning that a fine-tuning changed it
    embed = xfm.pipeline("embed", model=pretrained)
    shown = embed(image=check_image_file())
    np.testing.assert_allclose(shown, kept.image, atol=1e-4)
    match = xfm.pipeline("image-text-matching", model=pretrained)
    score = match(image=check_image_file(), text=loaded.check.text)["score"]
    assert kept.match is not None
    assert np.log(score / (1 - score)) == pytest.approx(kept.match, abs=2e-3)
    assert len(kept.box) == 4
    assert len(kept.answer) == {None: 0, "captioning": len(kept.tokens) - 1}.get(kind, 3)


# ---------------------------------------------------------------- what is refused
def test_another_preprocessing_is_named(saved: Path) -> None:
    path = saved / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mean": [0.5, 0.5, 0.5]}))
    for read in (xfm.load, load_model, xfm.XFM.from_pretrained, lambda path: xfm.pipeline("embed", path)):
        with expect_refusal(str(saved), "preprocessor_config.json", "self_check.json"):
            read(saved)
    with expect_refusal("preprocessor_config.json"):
        Models([str(saved)])
    assert load_model(saved, check=False).preprocessing.mean == (0.5, 0.5, 0.5)
    assert xfm.load(saved, check=False).check is not None


def test_another_tokenizer_is_named(saved: Path, tmp_path: Path) -> None:
    train_tokenizer(["disc stripes green"] * 9, 300).save(tmp_path / "tokenizer.json")
    with expect_refusal(str(saved), "tokenizer.json"):
        xfm.load(saved, tokenizer=tmp_path / "tokenizer.json")
    (saved / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes())
    with expect_refusal(str(saved), "was tokenizer.json changed"):
        xfm.load(saved)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("text_proj.weight", "vectors of its texts"),
        ("bbox_head.3.bias", "box of a phrase"),
    ],
)
def test_other_weights_are_named(name: str, told: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", tuned(None))
    stored = load_file(folder / "model.safetensors")
    stored[name] += (
        torch.randn_like(stored[name]) if stored[name].ndim > 1 else torch.arange(len(stored[name]))
    )
    save_file(stored, folder / "model.safetensors")
    with expect_refusal(str(folder), told):
        xfm.load(folder)
    (folder / SELF_CHECK).unlink()
    assert xfm.load(folder).check is None


@pytest.mark.parametrize("kind", ["vqa", "text-classification"])
def test_another_head_is_named(kind: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", tuned(kind))
    stored = load_file(folder / "task.safetensors")
    last = next(name for name in stored if name.endswith(("head.3.bias", "decoder.head.bias")))
    stored[last] += torch.arange(len(stored[last])) % 7
    save_file(stored, folder / "task.safetensors")
    with expect_refusal(str(folder), "head of its task"):
        xfm.load(folder)


# ---------------------------------------------------------------- arithmetic
def test_half_precision_is_compared_by_its_own_measure(saved: Path) -> None:
    """A model that bf16 would spoil is refused in it, and runs in float32."""
    xfm.pipeline("embed", saved, precision="bf16")
    found = load_model(saved)
    with torch.no_grad():  # numbers whose differences bfloat16 does not hold
        found.model.itm_head[3].weight.mul_(100)
        found.model.itm_head[3].bias.fill_(1e5)
    save(saved, found)
    xfm.pipeline("embed", saved)
    with expect_refusal(str(saved), "bf16", "float32"):
        xfm.pipeline("embed", saved, precision="bf16")


@pytest.mark.parametrize("most", [FLOAT32, HALF])
def test_rounding_passes_and_what_changes_a_rank_does_not(most: Tolerance) -> None:
    kept = CheckValues((0.0,) * 48, (0.6, 0.8), (0, 5, 2), (1.0, 0.0), 2.0, (0.5, 0.5, 0.2, 0.2), (1.0, -1.0))
    check = SelfCheck("a", "", kept)
    assert differences(check, kept, most) == []
    assert differences(check, replace(kept, image=(0.60001, 0.79999), match=2.001), most) == []
    turned = replace(
        kept, image=(0.8, 0.6), text=(0.0, 1.0), match=-2.0, box=(0.1, 0.5, 0.2, 0.2), answer=(-1.0, 1.0)
    )
    assert len(differences(check, turned, most)) == 5
    broken = replace(kept, image=(float("nan"), 0.0), match=float("nan"))
    assert len(differences(check, broken, most)) == 2
