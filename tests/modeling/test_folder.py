"""A model folder survives the round trip, a failing save, and carries its task."""

import copy
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.alike import some
from tests.evaluation.tiny import tiny_pretrained
from tests.folders import content
from tests.inference.models import save
from tests.modeling.conftest import FILES
from tests.refusals import expect_refusal
from xfm.config.encoders import Positions
from xfm.config.labels import MatchCalibration
from xfm.config.task import ImageHead, TaskConfig
from xfm.config.tasks import task_spec, task_specs
from xfm.models import model_files
from xfm.models.folder import Preprocessing, load_model, save_model
from xfm.models.task_models import build_task_model
from xfm.models.xfm import XFM

WRITTEN = sorted([*FILES, "README.md", "self_check.json"])


# ---------------------------------------------------------------- round trip
def test_round_trip(tmp_path: Path) -> None:
    old = tiny_pretrained()
    config = replace(
        old.model.config, vision=replace(old.model.config.vision, positions=Positions.SINE_2D, mlp_ratio=2)
    )
    preprocessing = Preprocessing(32, (0.1, 0.25, 1 / 3), (1.0, 0.7, 0.2))
    provenance = {"recipe": "tiny", "steps": 7, "versions": {"xfm": "1"}, "scores": [0.5, None]}
    model = XFM(config)
    folder = tmp_path / "some" / "where" / "model"
    save_model(str(folder), model, old.tokenizer, preprocessing, provenance)
    assert sorted(content(folder)) == WRITTEN
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755

    new = load_model(str(folder))
    assert new.model.config == config
    assert new.preprocessing == preprocessing
    assert hash(new.preprocessing) == hash(preprocessing)
    assert new.provenance == provenance
    assert new.tokenizer.to_json() == old.tokenizer.to_json()
    assert not new.model.training
    assert new.model.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, new.model.state_dict()[name]), name
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval().embed_image(pixels), new.model.embed_image(pixels))


def test_a_second_save_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    save(tmp_path / "again", load_model(saved))
    assert content(tmp_path / "again") == content(saved)


def test_older_folders_have_preprocessing_by_another_name(saved: Path) -> None:
    expected = load_model(saved).preprocessing
    (saved / "preprocessor_config.json").rename(saved / "preprocessing.json")
    assert load_model(saved).preprocessing == expected


# ---------------------------------------------------------------- saving
@pytest.mark.parametrize("link", ["model", "latest"])
def test_an_existing_folder_is_replaced(saved: Path, link: str) -> None:
    """And one behind a link, which stays."""
    if link != "model":
        (saved.parent / link).symlink_to(saved, target_is_directory=True)
    (saved / "notes.txt").write_text("of the old model")
    save(saved.parent / link, tiny_pretrained(seed=2))
    assert sorted(content(saved)) == WRITTEN
    assert (saved.parent / link).is_symlink() == (link != "model")
    assert {path.name for path in saved.parent.iterdir()} == {"model", link}
    expected = tiny_pretrained(seed=2).model.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in load_model(saved).model.state_dict().items())


def test_a_file_or_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for folder in (tmp_path / "thesis.tex", tmp_path / "thesis.tex" / "model", tmp_path):
        with expect_refusal(str(folder)):
            save(folder, tiny_pretrained())
    assert content(tmp_path) == {"thesis.tex": b"mine"}


# ---------------------------------------------------------------- with a task, without a tokenizer
@pytest.mark.parametrize("kind", some([one.name for one in task_specs(tunable=True)], 2))
def test_round_trip_of_a_task_model(tmp_path: Path, kind: str) -> None:
    """What a task model tuned takes the place of the model's parts, and is shared when it is loaded."""
    old = tiny_pretrained()
    classes = 3 if task_spec(kind).classes else 0
    for head in ImageHead if kind == "image-classification" else (ImageHead.LINEAR,):
        task = build_task_model(TaskConfig(kind, classes, head), copy.deepcopy(old.model))
        for parameter in task.parameters():
            parameter.data.add_(0.25)
        save(tmp_path / "m", replace(old, task=task))
        new = load_model(tmp_path / "m")
        assert new.task is not None
        assert new.task.task == task.task
        assert not new.task.training
        own, expected = new.task.state_dict(), task.state_dict()
        assert own.keys() == expected.keys()
        assert all(torch.equal(own[name], tensor) for name, tensor in expected.items())
        shared, whole = new.task.shared_state(), new.model.state_dict()
        assert all(shared[name].data_ptr() == whole[name].data_ptr() for name in shared)
        untouched = whole.keys() - shared.keys()
        assert all(torch.equal(whole[name], old.model.state_dict()[name]) for name in untouched)


def test_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    old = tiny_pretrained()
    save(tmp_path / "m", replace(old, given_tokenizer=None))
    new = load_model(tmp_path / "m")
    assert new.given_tokenizer is None
    with expect_refusal("--tokenizer"):
        _ = new.tokenizer
    old.tokenizer.save(tmp_path / "m" / "tokenizer.json")
    assert load_model(tmp_path / "m").tokenizer.to_json() == old.tokenizer.to_json()


# ---------------------------------------------------------------- calibration of the matching head
FITTED = MatchCalibration(0.25, -0.5, 1000, "retrieval/validation of a world")


def test_a_calibration_lies_in_the_folder_and_makes_the_probability(tmp_path: Path) -> None:
    old, folder = tiny_pretrained(), tmp_path / "model"
    save_model(folder, old.model, old.tokenizer, old.preprocessing, old.provenance)
    logits = torch.tensor([[[0.0, 2.0], [3.0, -1.0]]])
    raw = load_model(folder)
    assert raw.calibration is None
    assert torch.allclose(raw.match_probability(logits), logits.softmax(-1)[..., 1])
    model_files.write_calibration(folder, FITTED)
    fitted = load_model(folder)
    assert fitted.calibration == FITTED
    expected = torch.sigmoid(0.25 * torch.tensor([[2.0, -4.0]]) - 0.5)
    assert torch.allclose(fitted.match_probability(logits), expected)
    assert fitted.resized(folder, 64).calibration is None  # it was fitted to other pictures
    XFM.from_pretrained(folder).save_pretrained(tmp_path / "copy")
    assert load_model(tmp_path / "copy").calibration == FITTED
    save_model(folder, old.model, old.tokenizer, old.preprocessing, old.provenance)
    assert load_model(folder).calibration is None  # of other weights
