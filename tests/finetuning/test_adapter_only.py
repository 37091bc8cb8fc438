"""Fine-tunings whose model folder is an adapter, over the model that they began with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import xfm
from tests.alike import thorough
from tests.finetuning.conftest import SAMPLES, SHORT, on_sample
from tests.refusals import expect_refusal
from xfm.cli.main import main
from xfm.config.finetune import FinetuneConfig, Preset, TuningConfig, TuningMode
from xfm.core.files import folder_size
from xfm.models.adapters import is_adapter, merge
from xfm.models.folder import load_model

pytest.importorskip("peft")


def lora(*encoders: str, **changes: Any) -> FinetuneConfig:
    tune = TuningConfig(rank=2, save_adapter_only=True, **dict.fromkeys(encoders, TuningMode.LORA))
    return replace(SHORT, lr=1e-2, tune=tune, baseline=False, **changes)


@pytest.mark.parametrize(
    ("task", "encoders", "more"),
    [
        ("image-classification", ("vision",), {"image_size": 64, "average": 0.9}),
        ("text-classification", (), {"preset": Preset.FAST}),
    ],
)
def test_the_adapter_answers_as_what_was_trained(task, encoders, more, model, tmp_path):
    done = on_sample(task, model, tmp_path / "out", lora(*encoders, **more))
    assert is_adapter(done.model)
    assert folder_size(done.model) < folder_size(model)
    over = load_model(done.model)
    trained = done.task.module.cpu().state_dict()
    for name, tensor in over.task.state_dict().items():
        torch.testing.assert_close(tensor, trained[name], rtol=0, atol=1e-6, msg=name)
    merge(tmp_path / "out", tmp_path / "merged")
    whole = load_model(tmp_path / "merged")
    for name, tensor in over.task.state_dict().items():
        assert torch.equal(tensor, whole.task.state_dict()[name])
    assert load_model(model).model.config == whole.model.config or "image_size" in more


@thorough
def test_the_command_says_its_size_and_the_way_to_a_whole_model(model, tmp_path, capsys):
    out = tmp_path / "run"
    given = ["--model", str(model), "--train", str(SAMPLES / "reviews.csv"), "--out", str(out), "--quiet"]
    given += ["--tune.language", "lora", "--tune.save_adapter_only", "true"]
    given += ["--steps", "2", "--baseline", "false"]
    assert main(["finetune", "text-classification", *given]) == 0
    said = capsys.readouterr().out
    assert f"an adapter of {folder_size(out / 'model'):,} bytes over {model}" in said
    assert f"xfm export {out / 'model'} {out / 'merged'} --format merged" in said
    assert main(["export", str(out), str(out / "merged"), "--format", "merged"]) == 0
    first, second = (xfm.pipeline("text-classification", place)("a film") for place in (out, out / "merged"))
    assert first == second


def test_what_cannot_be_kept_apart_is_said_before_anything_is_read(model: Path, tmp_path: Path) -> None:
    published = tmp_path / "published.th"
    assert main(["export", str(model), str(published)]) == 0
    with expect_refusal("tune.save_adapter_only", "language encoder learns whole", "--tune.language lora"):
        on_sample("text-classification", model, tmp_path / "out", lora())
    with expect_refusal("tune.save_adapter_only", "fusion encoder learns whole"):
        on_sample("retrieval", model, tmp_path / "out", lora("language", "vision"))
    with expect_refusal(str(published), "from a model folder"):
        on_sample("text-classification", published, tmp_path / "out", lora("language"))
    with expect_refusal("me/reviews", "push_to_hub", "tune.save_adapter_only", "xfm export --format merged"):
        on_sample("text-classification", model, tmp_path / "out", lora("language"), push_to_hub="me/reviews")
    assert not (tmp_path / "out" / "model").exists()


@thorough
def test_it_is_a_model_to_begin_with(model: Path, tmp_path: Path) -> None:
    first = on_sample("text-classification", model, tmp_path / "first", lora("language"))
    with expect_refusal(str(first.model), "is an adapter", "--format merged"):
        on_sample("text-classification", first.model, tmp_path / "second", lora("language"))
    again = on_sample("text-classification", first.model, tmp_path / "second", replace(SHORT, baseline=False))
    assert not is_adapter(again.model)
