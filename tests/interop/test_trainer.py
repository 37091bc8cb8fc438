"""Training under transformers' Trainer, and LoRA through peft."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import Dataset

pytest.importorskip("accelerate", reason="the Trainer needs accelerate: pip install 'xfm[transformers]'")

import xfm.models.interop.transformers as adapter
from tests.alike import some, thorough
from tests.evaluation.tiny import COLOURS, draw, save_tiny_model

PAIRS = list(permutations(COLOURS, 2))
LABELS = {colour: number for number, colour in enumerate(COLOURS)}


class Rows(Dataset):
    """Twelve scenes; the label is the colour of the left square."""

    def __init__(self, folder: Path, images: bool) -> None:
        processor = transformers.AutoProcessor.from_pretrained(folder)
        texts = [f"a {left} square left of a {right} square" for left, right in PAIRS]
        if images:
            self.inputs = dict(processor(images=[draw(*pair) for pair in PAIRS], return_tensors="pt"))
        else:
            self.inputs = dict(processor(text=texts, padding=True, return_tensors="pt"))
        self.labels = torch.tensor([LABELS[left] for left, _ in PAIRS])

    def __len__(self) -> int:
        return len(PAIRS)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {name: value[row] for name, value in self.inputs.items()} | {"labels": self.labels[row]}


KINDS = {
    "text": transformers.AutoModelForSequenceClassification,
    "image": transformers.AutoModelForImageClassification,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


def fresh(kind: str, folder: Path) -> Any:
    torch.manual_seed(0)
    return KINDS[kind].from_pretrained(folder, num_labels=4, trust_remote_code=False)


def trained(
    model: Any, rows: Rows, place: Path, steps: int, batch: int = 12, accumulation: int = 1, **more: Any
) -> Any:
    """A Trainer that has trained; SGD, so that the size of a gradient shows in the weights."""
    settings = transformers.TrainingArguments(
        output_dir=str(place), max_steps=steps, per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation, learning_rate=more.pop("rate", 3e-3), report_to=[],
        logging_steps=1, use_cpu=True, save_strategy=more.pop("save", "no"), disable_tqdm=True, seed=1,
        lr_scheduler_type="constant", max_grad_norm=0.0, **more,
    )  # fmt: skip
    trainer = transformers.Trainer(model=model, args=settings, train_dataset=rows)
    trainer.train()
    return trainer


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@torch.no_grad()
def logits(model: nn.Module, rows: Rows) -> Tensor:
    return model.eval()(**rows.inputs).logits


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_saves_and_loads(kind: str, folder: Path, tmp_path: Path) -> None:
    rows, model = Rows(folder, kind == "image"), fresh(kind, folder)
    trainer = trained(model, rows, tmp_path / "run", steps=40, save="steps", save_steps=40, rate=3e-3)
    seen = losses(trainer)
    assert seen[0] > 1.0  # about ln 4: nothing is known yet
    assert seen[-1] < 0.3 * seen[0]
    expected = logits(trainer.model, rows)
    assert (expected.argmax(-1) == rows.labels).float().mean() > 0.9
    trainer.save_model(str(tmp_path / "saved"))
    for place in (tmp_path / "saved", tmp_path / "run" / "checkpoint-40"):
        again = KINDS[kind].from_pretrained(place, trust_remote_code=False)
        assert torch.equal(logits(again, rows), expected)
        assert again.provenance["recipe"] == "tiny"


@thorough
def test_the_best_checkpoint_is_loaded_whole(folder: Path, tmp_path: Path) -> None:
    """The Trainer copies by bare names and passes over unknown ones: names must be the same everywhere."""
    rows, model = Rows(folder, images=False), fresh("text", folder)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    trainer = trained(model, rows, tmp_path / "run", steps=2, save="steps", save_steps=1)
    first = KINDS["text"].from_pretrained(tmp_path / "run" / "checkpoint-1").state_dict()
    trainer.state.best_model_checkpoint = str(tmp_path / "run" / "checkpoint-1")
    trainer._load_best_model()
    now = trainer.model.state_dict()
    assert all(torch.equal(now[name], tensor) for name, tensor in first.items())
    assert any(not torch.equal(now[name], tensor) for name, tensor in before.items())


# ---------------------------------------------------------------- LoRA
TARGETS = ["qkv", "out", "fc1", "fc2"]


@thorough
@pytest.mark.parametrize("kind", some(KINDS, 2))
def test_lora_trains_merges_and_loads(kind: str, folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="LoRA needs peft: pip install peft")
    rows = Rows(folder, kind == "image")
    task = {"task_type": "SEQ_CLS"} if kind == "text" else {}
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, modules_to_save=["head"], **task)
    model = peft.get_peft_model(fresh(kind, folder), config)
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    untrained = logits(model, rows)
    trainer = trained(model, rows, tmp_path / "run", steps=30, rate=1e-2)
    assert losses(trainer)[-1] < 0.5 * losses(trainer)[0]
    expected = logits(model, rows)
    assert not torch.allclose(expected, untrained, atol=1e-2)
    for name, tensor in model.named_parameters():
        if "lora_B" in name:  # it began at zero: a layer that is not called would still be there
            assert tensor.abs().max() > 0, name
        if name in frozen:
            assert torch.equal(tensor, frozen[name]), name
    model.save_pretrained(tmp_path / "adapter")
    loaded = peft.PeftModel.from_pretrained(fresh(kind, folder), tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded, rows), expected, rtol=0, atol=1e-6)
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged, rows), expected, rtol=1e-4, atol=1e-5)
    merged.save_pretrained(tmp_path / "merged")
    again = KINDS[kind].from_pretrained(tmp_path / "merged", trust_remote_code=False)
    assert torch.equal(logits(again, rows), logits(merged, rows))
    assert type(again) is type(fresh(kind, folder))


def test_lora_on_the_whole_model_reaches_fusion(folder: Path) -> None:
    """Every adapted layer of all three encoders gets a gradient from the matching head."""
    peft = pytest.importorskip("peft", reason="LoRA needs peft: pip install peft")
    base = transformers.AutoModel.from_pretrained(folder)
    assert isinstance(base, adapter.XFMModel)
    targets = [*TARGETS, "query", "key_value", "text_proj"]
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=targets))
    rows = {**Rows(folder, images=False).inputs, **Rows(folder, images=True).inputs}
    out = model(**rows)
    inner = model.get_base_model()
    fused = inner.fuse(out.text_states, rows["attention_mask"].bool(), out.image_states)
    loss = inner.match_logits(fused).square().mean() + out.logits_per_image.square().mean()
    loss.backward()
    reached = {n: p.grad for n, p in model.named_parameters() if "lora_B" in n}
    assert {n.split(".")[2] for n in reached} >= {"language", "vision", "fusion", "text_proj"}
    assert [n for n, grad in reached.items() if grad is None or grad.abs().max() == 0] == []
