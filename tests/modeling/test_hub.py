"""Models go to the hub and come back, with a card; nothing but a model folder's files is fetched."""

import copy
import os
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.evaluation.tiny import SIDE, tiny_pretrained
from tests.modeling.hub_server import running_hub
from tests.processes import ROOT, run
from tests.refusals import expect_refusal
from xfm.models.artifacts import model_card
from xfm.models.folder import Artifacts, load_model
from xfm.models.xfm import XFM, push_to_hub


def python(code: str, endpoint: str, home: Path) -> str:
    """What a fresh interpreter prints that knows only this hub."""
    extra = dict.fromkeys(name for name in os.environ if name.lower().endswith("_proxy"))
    extra |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    extra |= {"HF_TOKEN": "hf_of_the_test", "HF_HUB_DISABLE_XET": "1"}
    done = run([sys.executable, "-c", code], cwd=ROOT, **extra)
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


PUSH = "import xfm; print(xfm.XFM.from_pretrained({!r}).push_to_hub('me/tiny'))"


@pytest.mark.slow
def test_there_and_back_over_http(saved: Path, tmp_path: Path) -> None:
    load = (
        "import torch, xfm\n"
        "model = xfm.XFM.from_pretrained('me/tiny')\n"
        f"vector = model.embed_image(torch.ones(1, 3, {SIDE}, {SIDE})).detach()\n"
        "print(float(vector[0, 0]), model.artifacts.provenance)"
    )
    both = (
        "import torch, transformers, xfm.models.interop.transformers\n"
        "model = transformers.AutoModel.from_pretrained('me/tiny', trust_remote_code=False).eval()\n"
        f"pixels = torch.ones(1, 3, {SIDE}, {SIDE})\n"
        "transformers.AutoProcessor.from_pretrained('me/tiny')\n"
        "print(float(model(pixel_values=pixels).image_embeds.detach()[0, 0]), model.provenance)"
    )
    with torch.no_grad():
        expected = load_model(saved).model.embed_image(torch.ones(1, 3, SIDE, SIDE))[0, 0].item()
    with running_hub() as hub:
        address = python(PUSH.format(str(saved)), hub.address, tmp_path / "home")
        assert address.startswith(f"{hub.address}/me/tiny")
        assert set(hub.files["me/tiny"]) == {path.name for path in saved.iterdir()} | {"README.md"}
        assert hub.private["me/tiny"]
        hub.files["me/tiny"] |= {"evil.py": b"raise SystemExit", "pytorch_model.bin": b"pickle"}
        hub.files["me/tiny"]["more/config.json"] = b"{}"
        for code in (load, both):
            number, _, provenance = python(code, hub.address, tmp_path / "home").strip().partition(" ")
            assert float(number) == pytest.approx(expected, abs=1e-6)
            assert provenance == "{'recipe': 'tiny'}"
        assert not {"evil.py", "pytorch_model.bin", "more/config.json"} & set(hub.downloaded)
    # The cache is enough once the hub is gone.
    assert python(load, "http://127.0.0.1:9", tmp_path / "home").strip().endswith("{'recipe': 'tiny'}")


def test_the_card() -> None:
    loaded = tiny_pretrained()
    provenance = {
        "recipe": "nano",
        "steps": 7,
        "licences": {"code": "Apache-2.0", "weights": "CC-BY-4.0", "data": {"pictures": "CC-BY-4.0"}},
        "data": {"pair": ["shards/*.tar"]},
        "world": {"seed": 3},
        "scores": {"R@1": 0.477},
    }
    card = model_card(loaded.model.config, Artifacts(loaded.tokenizer, loaded.preprocessing, provenance))
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "cc-by-4.0"
    assert header["library_name"] == "xfm"
    for told in ("code: Apache-2.0", "weights: CC-BY-4.0", "pictures: CC-BY-4.0", "shards/*", "R@1 | 0.47"):
        assert told in card
    bare = model_card(loaded.model.config, loaded.artifacts)
    assert "weights: not stated" in bare
    assert "Scores" not in bare
    assert "license" not in yaml.safe_load(bare.split("---")[1])


def test_a_task_travels_with_its_model(tuned: Path, tmp_path: Path) -> None:
    copy.deepcopy(XFM.from_pretrained(tuned)).save_pretrained(tmp_path / "again")
    start, again = load_model(tuned).task, load_model(tmp_path / "again").task
    assert start is not None
    assert again is not None
    assert again.task == start.task
    assert all(torch.equal(t, start.added_state()[n]) for n, t in again.added_state().items())
    card = (tmp_path / "again" / "README.md").read_text()
    assert "fine-tuned for text-classification, 3 outputs" in card


def test_an_upload_takes_the_models_files_and_nothing_else(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever made a folder must not choose what of the machine is shown to the world."""
    secret = tmp_path / "secret"
    secret.write_text('{"token": "mine"}')
    (saved / "notes.json").symlink_to(secret)
    (saved / ".env").write_text("TOKEN=mine")
    sent: list[set[str]] = []

    def push(folder: Path, *_: object) -> str:
        sent.append({path.name for path in folder.iterdir()})
        return "the address"

    monkeypatch.setattr("xfm.models.xfm.push", push)
    assert push_to_hub(saved, "me/tiny") == "the address"
    assert sent == [{path.name for path in saved.iterdir()} - {"notes.json", ".env"} | {"README.md"}]
    assert "2 of" in (said := capsys.readouterr().err)
    assert "are no files of a model and stay here: .env, notes.json" in said
    (saved / "provenance.json").unlink()
    (saved / "provenance.json").symlink_to(secret)
    with expect_refusal("provenance.json is a link that leads out of the folder"):
        push_to_hub(saved, "me/tiny")
    # The hub's own cache is made of links.
    cached = tmp_path / "models--me--tiny" / "snapshots" / "abc"
    cached.mkdir(parents=True)
    (cached.parents[1] / "blobs").mkdir()
    (saved / "provenance.json").unlink()
    (saved / "provenance.json").write_text('{"scores": "none"}')
    for path in saved.iterdir():
        if not path.is_symlink():
            path.rename(cached.parents[1] / "blobs" / path.name)
            (cached / path.name).symlink_to(f"../../blobs/{path.name}")
    assert push_to_hub(cached, "me/tiny") == "the address"
    assert {"model.safetensors", "provenance.json"} < sent[1]
