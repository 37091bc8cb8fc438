"""Adapters: what a fine-tuning learned, kept apart, read over the model that it began with, and merged."""

import copy
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.evaluation.tiny import tiny_pretrained
from tests.inference.models import TASKS, save
from tests.refusals import expect_refusal
from xfm.cli.main import main
from xfm.config.finetune import TuningConfig, TuningMode
from xfm.data.schema import Tokens
from xfm.models.adapters import merge, save_adapter
from xfm.models.folder import Pretrained, load_model
from xfm.models.task_models import Classifier, TaskModel, build_task_model

pytest.importorskip("peft")

from xfm.finetuning.tuning_run import adapt, merge_lora

MERGE = "export", "--format", "merged"
EVERY = TuningConfig(
    language=TuningMode.LORA,
    vision=TuningMode.LORA,
    fusion=TuningMode.LORA,
    rank=3,
    alpha=5,
    save_adapter_only=True,
)


@dataclass(frozen=True)
class Learned:
    """A model, an adapter over it, and what they gave while the additions stood beside the matrices."""

    base: Path
    folder: Path
    before: Tensor


def answers(task: TaskModel, pretrained: Pretrained) -> Tensor:
    """What a fine-tuned model makes of two pictures and two texts, in one row of numbers."""
    torch.manual_seed(7)
    pixels = torch.randn(2, 3, 32, 32)
    tokens: Tokens = pretrained.tokenizer.encode_batch(["a red square", "is it"], 12)
    with torch.no_grad():
        if isinstance(task, Classifier):
            found = task(pixels, tokens)
        elif task.task.kind == "retrieval":
            model, (ids, mask) = task.model, (tokens.ids, tokens.mask)
            pairs = model.fuse(model.encode_text(ids, mask), mask, model.encode_image(pixels))
            vectors = model.embed_text(ids, mask), model.embed_image(pixels)
            found = torch.cat([model.match_logits(pairs), *vectors], dim=1)
        else:
            found = task(pixels, tokens, tokens)
    return found.flatten()


def learn(kind: str, place: Path) -> Learned:
    """Let every part that learns be somewhere else; write the base and the adapter."""
    base = save(place / "base", tiny_pretrained(3))
    began = load_model(base)
    task: Any = build_task_model(TASKS[kind], copy.deepcopy(began.model))
    adapt(task, EVERY)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in task.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    task.eval()
    shown = answers(task, began)
    own = replace(began.artifacts, task=task, provenance={"task": kind})
    additions, state = merge_lora(task), began.model.state_dict()
    save_adapter(
        place / "adapter", base, state, began.model.config, own, additions, (EVERY.rank, EVERY.alpha)
    )
    return Learned(base, place / "adapter", shown)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return learn("image-text-classification", tmp_path_factory.mktemp("learned"))


@pytest.fixture
def copied(learned: Learned, tmp_path: Path) -> Path:
    """A copy of the adapter that may be damaged."""
    return Path(shutil.copytree(learned.folder, tmp_path / "copied"))


# ---------------------------------------------------------------- over the base, and merged
@pytest.mark.parametrize("kind", ["retrieval", "vqa"])
def test_read_over_the_base_and_merged_it_gives_what_it_gave(kind: str, tmp_path: Path) -> None:
    made = learn(kind, tmp_path)
    over = load_model(made.folder)
    assert over.task is not None
    torch.testing.assert_close(answers(over.task, over), made.before, rtol=0, atol=1e-6)

    merge(made.folder, tmp_path / "merged")
    whole = load_model(tmp_path / "merged")
    assert whole.task is not None
    assert torch.equal(answers(whole.task, whole), answers(over.task, over))
    assert whole.check == over.check
    assert whole.tokenizer.to_json() == over.tokenizer.to_json()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, over.model.state_dict()[name]), name
    if kind != "vqa":  # whose decoder is a copy of the fusion encoder, and learns whole
        sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in (made.folder, made.base)]
        assert sizes[0] < 0.6 * sizes[1]


def test_peft_reads_the_additions(learned: Learned) -> None:
    """Over the base, as they were trained: the encoders and the fusion give what our reader gives."""
    import peft

    base, ours = load_model(learned.base).model, load_model(learned.folder).model
    theirs: Any = peft.PeftModel.from_pretrained(base, str(learned.folder))
    tokens = tiny_pretrained().tokenizer.encode_batch(["a red square"], 12)
    pixels = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for model in (theirs.base_model.model, ours):
            model.eval()
        found, expected = (
            model.fuse(model.encode_text(tokens.ids, tokens.mask), tokens.mask, model.encode_image(pixels))
            for model in (theirs.base_model.model, ours)
        )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert sum("lora_A" in name for name, _ in theirs.named_parameters()) == sum(
        isinstance(part, nn.Linear)
        for encoder in (ours.language, ours.vision, ours.fusion)
        for part in encoder.modules()
    )


# ---------------------------------------------------------------- the base
def test_another_base_is_refused(learned: Learned, tmp_path: Path) -> None:
    other = save(tmp_path / "other", tiny_pretrained(4))
    with expect_refusal(str(learned.folder), "other weights than those of", str(other), "--base"):
        load_model(learned.folder, base=other)


def test_a_base_that_has_moved_is_named(
    learned: Learned, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = Path(shutil.copytree(learned.base, tmp_path / "moved"))
    said = json.loads((copied / "adapter.json").read_text())
    (copied / "adapter.json").write_text(json.dumps(said | {"base": str(tmp_path / "gone")}))
    command = f"`xfm export {copied} OUT --format merged --base FOLDER`"
    with expect_refusal(str(copied), str(tmp_path / "gone"), "where no model is", command):
        load_model(copied)
    words = ["predict", "image-text-classification", "--image", "x", "--text", "a"]
    assert main([*words, "--model", str(copied)]) == 2
    assert command in capsys.readouterr().err
    over = load_model(copied, base=moved)
    assert over.task is not None
    torch.testing.assert_close(answers(over.task, over), learned.before, rtol=0, atol=1e-6)
    out = tmp_path / "merged"
    assert main([*MERGE, str(copied), str(out)]) == 2
    assert "--base" in capsys.readouterr().err
    assert not out.exists()
    assert main([*MERGE, str(copied), str(out), "--base", str(moved)]) == 0
    assert f"the adapter has {sum(p.stat().st_size for p in copied.iterdir()):,}" in capsys.readouterr().out
    assert load_model(out).provenance["task"] == "image-text-classification"
    assert main([*MERGE, str(copied), str(out), "--base", str(moved)]) == 0  # the same again
    assert main([*MERGE, str(copied), str(learned.base)]) == 2  # no model is lost
