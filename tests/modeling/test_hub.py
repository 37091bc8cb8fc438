"""Models of the hub: named as paths are, there and back with a card, and nothing else is fetched."""

import copy
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from tests.alike import thorough
from tests.evaluation.tiny import SIDE, tiny_pretrained
from tests.modeling.hub_server import Hub, running_hub
from tests.processes import ROOT, Ended, run
from tests.processes import XFM as COMMAND
from tests.refusals import expect_refusal
from xfm.config.task import TaskConfig
from xfm.models.artifacts import model_card
from xfm.models.folder import Artifacts, load_model
from xfm.models.resolve import find_model, model_folder
from xfm.models.task_models import TaskModel, build_task_model
from xfm.models.xfm import XFM


def python(code: str, endpoint: str, home: Path, *words: str) -> str:
    """What a fresh interpreter prints that knows only this hub."""
    extra = dict.fromkeys(name for name in os.environ if name.lower().endswith("_proxy"))
    extra |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    extra |= {"HF_TOKEN": "hf_of_the_test", "HF_HUB_DISABLE_XET": "1"}
    done = run([sys.executable, "-c", code, *words], cwd=ROOT, **extra)
    assert done.status == 0, done.err
    return done.out


def test_a_local_folder(saved: Path, tmp_path: Path) -> None:
    model = XFM.from_pretrained(saved)
    assert not model.training
    model.save_pretrained(tmp_path / "again")
    old, new = load_model(saved), load_model(tmp_path / "again")
    pixels = torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.equal(old.model.embed_image(pixels), new.model.embed_image(pixels))
    assert new.provenance == old.provenance
    assert (tmp_path / "again" / "README.md").is_file()
    model.save_pretrained(tmp_path / "again")  # a card does not make it a folder of something else
    assert copy.deepcopy(model).artifacts is not None


REFUSED = """
for name in sys.argv[2:]:
    try:
        xfm.load(name)
    except xfm.UserError as error:
        print(error)
"""
EVERYTHING = f"""
import sys, torch, transformers, xfm, xfm.models.interop.transformers
print(xfm.XFM.from_pretrained(sys.argv[1]).push_to_hub("me/tiny"))
pixels = torch.ones(1, 3, {SIDE}, {SIDE})
model = xfm.XFM.from_pretrained("me/tiny")
print(float(model.embed_image(pixels).detach()[0, 0]), model.artifacts.provenance)
model = transformers.AutoModel.from_pretrained("me/tiny", trust_remote_code=False).eval()
transformers.AutoProcessor.from_pretrained("me/tiny")
print(float(model(pixel_values=pixels).image_embeds.detach()[0, 0]), model.provenance)
{REFUSED}"""
NAMES = {
    "me/nothing": "the hub has no such repository, or a private one",
    "me/tiny@v9": "no such revision",
    "me/gated": "is gated: ask for access",
    "me/other": "holds no model of xfm",
}
"""What cannot be read, and what is said of it."""


@thorough
@pytest.mark.slow
def test_there_and_back_over_http(saved: Path, tmp_path: Path) -> None:
    with torch.no_grad():
        expected = load_model(saved).model.embed_image(torch.ones(1, 3, SIDE, SIDE))[0, 0].item()
    evil = {"evil.py": b"raise SystemExit", "pytorch_model.bin": b"pickle", "more/config.json": b"{}"}
    with running_hub() as hub:
        hub.files |= {
            "me/tiny": {**evil},
            "me/gated": {"config.json": b"{}"},
            "me/other": {"a.bin": b"pickle"},
        }
        hub.gated.add("me/gated")
        said = python(EVERYTHING, hub.address, tmp_path / "home", str(saved), *NAMES).splitlines()
        address, *numbers = said[:3]
        assert address.startswith(f"{hub.address}/me/tiny")
        assert set(hub.files["me/tiny"]) == {path.name for path in saved.iterdir()} | {"README.md", *evil}
        assert hub.private["me/tiny"]
        for line in numbers:
            number, _, provenance = line.partition(" ")
            assert float(number) == pytest.approx(expected, abs=1e-6)
            assert provenance == "{'recipe': 'tiny'}"
        assert not {*evil} & set(hub.downloaded)
    for line, (name, words) in zip(said[3:], NAMES.items(), strict=True):
        assert line.startswith(f"{name} is no model folder here, and "), line
        assert words in line
    # The cache is enough once the hub is gone.
    load = f"import sys, xfm\nprint(xfm.XFM.from_pretrained('me/tiny').artifacts.provenance){REFUSED}"
    kept, away = python(load, "http://127.0.0.1:9", tmp_path / "home", "", "me/nothing").splitlines()
    assert kept == "{'recipe': 'tiny'}"
    assert "the hub cannot be reached, nor is it in the hub's cache" in away


NUMBERS = {"value": 0.5, "low": 0.4, "high": 0.62, "chance": 0.1, "baseline": None, "n": 20}
PROVENANCE = {
    "recipe": "nano",
    "steps": 7,
    "licences": {"code": "Apache-2.0", "weights": "CC-BY-4.0", "data": {"pictures": "CC-BY-4.0"}},
    "data": {"pair": ["shards/*.tar", "hf://datasets/me/pairs/*.tar"], "test": ["9 of hub:me/rows@test"]},
    "world": {"seed": 3},
    "began_with": {"base_model": ["me/base"]},
    "scores": {"R@1": 0.477, "vqa/test/accuracy": NUMBERS, "note": "half", "lost/test/auroc": None},
}


def card_of(provenance: dict[str, Any], task: TaskModel | None = None) -> ModelCard:
    loaded = tiny_pretrained()
    own = Artifacts(loaded.tokenizer, loaded.preprocessing, provenance, task)
    return ModelCard(model_card(loaded.model.config, own))


def test_the_card() -> None:
    task = build_task_model(TaskConfig("vqa", answers=("yes", "no")), tiny_pretrained().model)
    card = card_of(PROVENANCE, task)
    told = {"metric_name": "vqa/test/accuracy", "dataset_split": "test"}
    results = [
        EvalResult("other", "unknown", "not stated", "R@1", 0.477, metric_name="R@1"),
        EvalResult("visual-question-answering", "me/rows", "me/rows", "accuracy", 0.5, **told),
    ]
    data = ModelCardData(
        library_name="xfm",
        pipeline_tag="visual-question-answering",
        license="cc-by-4.0",
        language="en",
        base_model=["me/base"],
        datasets=["me/pairs"],
        tags=["xfm", "vision-language", "vqa"],
        model_name="vqa",
        eval_results=results,
    )
    assert card.data.to_dict() == data.to_dict()
    assert card.data.eval_results == results
    licences = ("code: Apache-2.0", "weights: CC-BY-4.0", "pictures: CC-BY-4.0")
    measured = "| vqa/test/accuracy | 0.5 | chance 0.1, high 0.62, low 0.4, n 20 |"
    for words in (*licences, "shards/*", "| R@1 | 0.477 |", "| note | half |", measured):
        assert words in card.text
    bare = card_of({"fresh": ["vision_proj."]})
    assert "weights: not stated" in bare.text
    assert bare.data.to_dict() == {"library_name": "xfm", "tags": ["xfm", "vision-language"]}
    assert card_of({}).data.pipeline_tag == "zero-shot-image-classification"
    named = card_of({"licences": {"weights": "Apple's Sample Code"}, "where": Path("a")}).data
    assert (named.license, named.license_name) == ("other", "apple-s-sample-code")


ROWS = "text,label\n" + "".join(f"the {c} square {n},{c}\n" for n in range(12) for c in ("red", "blue"))


def test_a_path_wins(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks the hub for what lies here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me").mkdir()
    saved.rename(tmp_path / "me" / "tiny")
    assert model_folder("me/tiny") == Path("me/tiny")
    (tmp_path / "me" / "linked").symlink_to("nowhere")
    assert model_folder("me/linked") == Path("me/linked")
    with expect_refusal("nowhere-here does not exist", "owner/name"):
        find_model("nowhere-here")


@pytest.fixture
def hub(saved: Path) -> Iterator[Hub]:
    with running_hub() as hub:
        hub.files["me/tiny"] = {path.name: path.read_bytes() for path in saved.iterdir()}
        hub.revisions.add("v1")
        yield hub


def xfm(line: str, place: Path, endpoint: str, **extra: str | None) -> Ended:
    """A command that knows only this hub."""
    proxies = dict.fromkeys(name for name in os.environ if name.lower().endswith("_proxy"))
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(place / "home"), "HF_HUB_DISABLE_XET": "1", **proxies}
    return run([*COMMAND, *line.split()], 300, place, **{**own, "HF_TOKEN": None, **extra})


@thorough
def test_commands_take_a_name(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    hub.files["me/tiny"] |= {"pytorch_model.bin": b"pickle", "code.py": b"raise SystemExit"}
    tune = "finetune text-classification me/tiny@v1 --train rows.csv --out run --steps 4 --quiet --device cpu"
    done = xfm(f"{tune} --baseline false --push-to-hub me/tuned", tmp_path, hub.address, HF_TOKEN="hf_test")
    assert done.status == 0, done.err
    assert f"Hub:     {hub.address}/me/tuned" in done.out
    assert hub.private["me/tuned"]
    assert {*hub.downloaded} == {path for path in hub.files["me/tiny"] if path.endswith(("json", "tensors"))}
    card = ModelCard(hub.files["me/tuned"]["README.md"].decode())
    assert "fine-tuned for text-classification, 2 outputs" in card.text
    assert "text-classification/test/accuracy | " in card.text
    assert (card.data.pipeline_tag, card.data.base_model) == ("text-classification", ["me/tiny"])
    found = {one.metric_name: one.metric_value for one in card.data.eval_results}
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found == {key: score["value"] for key, score in metrics.items()}
    for name in ("model.safetensors", "task.json", "task.safetensors", "README.md"):
        assert hub.files["me/tuned"][name] == (tmp_path / "run" / "model" / name).read_bytes()
    before = len(hub.asked)
    for line in (
        "predict text-classification me/tuned --text red",
        "evaluate me/tuned --test rows.csv --quiet --device cpu",
        "export me/tiny published.th",
        "evaluate me/tiny --train nowhere.csv --test nowhere.csv --out probe",
    ):
        done = xfm(line, tmp_path, hub.address)
        assert done.status == (2 if "nowhere" in line else 0), (line, done.err)
        assert "nowhere" not in line or "nowhere.csv" in done.err
    assert len(hub.asked) > before
    assert (tmp_path / "runs" / "hub-me--tuned" / "evaluation-rows" / "metrics.json").is_file()
    # The cache is enough without the hub.
    assert xfm("predict embed me/tiny --text red", tmp_path, "http://127.0.0.1:9").status == 0
