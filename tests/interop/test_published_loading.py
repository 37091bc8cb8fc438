"""Published files through `xfm info` and `load`."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.interop.published_files import KINDS, tiny_file
from xfm.cli.main import main
from xfm.core.errors import UserError
from xfm.models.interop.loading import load
from xfm.models.model_files import FRESH


@pytest.mark.parametrize("kind", KINDS)
def test_info_of_a_published_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: Any) -> None:
    path = tmp_path / "a.th"
    state = tiny_file(path, kind)
    assert main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert str(kind or "pre-training") in shown.split("layout: ")[1].splitlines()[0]
    assert f"total: {sum(tensor.numel() for tensor in state.values())}\n" in shown
    assert "vocab_size: 50" in shown


def test_what_a_published_file_lacks_is_new(tmp_path: Path) -> None:
    """`xfm pretrain --init.model` trains it faster, as it does the fresh parts of a composed model."""
    tiny_file(tmp_path / "a.th", "retrieval")
    provenance = load(tmp_path / "a.th", heads=4).provenance
    assert provenance[FRESH] == ["bbox_head.", "language_head."]
    assert provenance["licences"]["code"] == "Apache-2.0"


def test_a_published_file_at_another_picture_size(tmp_path: Path) -> None:
    tiny_file(tmp_path / "a.th")
    same, other = (load(tmp_path / "a.th", heads=4, image_size=size) for size in (None, 48))
    assert other.preprocessing.image_size == other.model.config.vision.image_size == 48
    same.model.resize(48)
    pixels = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(other.model.embed_image(pixels), same.model.embed_image(pixels))
    with pytest.raises(UserError, match="cannot take pictures of 50 pixels"):
        load(tmp_path / "a.th", heads=4, image_size=50)


def test_what_loading_refuses(tmp_path: Path) -> None:
    tiny_file(tmp_path / "a.th")
    with pytest.raises(UserError, match="cannot have 0 attention heads"):
        load(tmp_path / "a.th", heads=0)
    with pytest.raises(UserError, match="owner/name is no model folder here, and the hub "):
        load("owner/name")
