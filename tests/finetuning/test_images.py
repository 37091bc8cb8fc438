"""Full fine-tuning of image classification: variations, mixing, layers, averages, exactly resumed."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import xfm
from tests.data.picture_kinds import base, saved
from tests.evaluation.tiny import COLOURS, tiny_pretrained, tiny_task
from tests.finetuning import conftest
from tests.finetuning.conftest import on_sample
from tests.official.pictures import noisy_colours
from tests.reports.written import details_of, json_lines
from xfm.config.image import STRONG, ImageTrainingConfig
from xfm.config.task import ImageHead
from xfm.config.training import Grouping, Precision, Schedule
from xfm.data.variation import Mixup
from xfm.finetuning.finetune import finetune_rows
from xfm.models.folder import load_model
from xfm.tasks.base import HiddenInput
from xfm.tasks.image_classification import ImageClassificationTask
from xfm.tasks.images import Pictures
from xfm.tasks.rows import Labelled, SplitRows

LABELS = tuple(sorted(COLOURS))
LIGHT = ImageTrainingConfig(crop=0.35, aspect=4 / 3, flip=0.5)
SHORT = replace(conftest.SHORT, steps=8, lr=1e-3, evaluate_every=4, patience=0, baseline=False)


@pytest.fixture
def data(tmp_path):
    """Noisy pictures of four colours."""
    found = {"train": [], "valid": [], "test": []}
    for path in noisy_colours(tmp_path, train=8, valid=3, test=4):
        found[path.parts[-3]].append(Labelled(path, path.parts[-2]))
    return SplitRows(**found, labels=LABELS)


def task(data, **settings):
    return tiny_task(ImageClassificationTask, data, batch_size=4, precision=Precision.FP32, **settings)


def test_varied_batches_go_on_anywhere(data):
    varied = task(data, image=LIGHT)
    whole = list(varied.batches(0, 12))
    for ours, theirs in zip(whole[9:], varied.batches(9, 12), strict=True):
        assert torch.equal(ours.pixels, theirs.pixels)
        assert torch.equal(ours.targets, theirs.targets)
    targets = torch.cat([batch.targets for batch in whole[:8]])  # an epoch
    assert targets.bincount().tolist() == [8] * 4
    plain = next(task(data).batches(0, 1))
    assert torch.equal(plain.targets, whole[0].targets), "the same rows, varied or not"
    assert not torch.allclose(plain.pixels, whole[0].pixels)
    blank = next(task(data, image=LIGHT, blanked=HiddenInput.PICTURE).batches(0, 1))
    assert not blank.pixels.any()


def test_the_loss_of_mixed_pictures_is_that_of_their_shares(data):
    image = ImageTrainingConfig(mixup=0.8, cutmix=1.0, label_smoothing=0.1)
    mixing = task(data, image=image)
    batch = next(mixing.batches(0, 1))
    for seed in range(4):
        torch.manual_seed(seed)
        pixels, shares = Mixup(image, 4)(batch.pixels, batch.targets)
        logits = mixing.module(pixels)
        smooth = 0.9 * shares + 0.1 / 4
        expected = -(smooth * F.log_softmax(logits, dim=1)).sum(1).mean()
        torch.manual_seed(seed)
        torch.testing.assert_close(mixing.loss(batch, torch.Generator()).total, expected)


def test_drop_path_rises_over_the_blocks():
    vision = tiny_pretrained().model.vision
    vision.set_drop_path(0.4)
    assert [block.drop_path.rate for block in vision.blocks] == [0.0, 0.4]


def test_drop_path_of_a_timm_encoder():
    from timm.layers.drop import DropPath

    from xfm.config.encoders import TimmVisionConfig
    from xfm.models.library_encoders import TimmVision

    vision = TimmVision(TimmVisionConfig(32, 16, 192, 12, 3, architecture="vit_tiny_patch16_224"))
    vision.set_drop_path(0.11)
    drops = [block.drop_path1 for block in vision.trunk.blocks]
    rates = [drop.drop_prob for drop in drops if isinstance(drop, DropPath)]
    assert rates == pytest.approx([0.01 * place for place in range(1, 12)])


COSINE = replace(SHORT, schedule=Schedule.COSINE)
MODERN = replace(COSINE, image=LIGHT, workers=1, layer_decay=0.7, average=0.9)
AS_PUBLISHED = replace(COSINE, image=STRONG, grouping=Grouping.ONE, image_head=ImageHead.PUBLISHED)


@pytest.fixture
def tuned(data, model, tmp_path):
    """Fine-tunes into a folder of that name."""

    def run(name, config, resume=False):
        out = tmp_path / name
        return finetune_rows("image-classification", model, data, config, out, progress=False, resume=resume)

    return run


@pytest.mark.parametrize("config", [MODERN, AS_PUBLISHED], ids=["modern", "published"])
def test_both_ways_train_and_load(config, data, tuned):
    found = tuned("out", config)
    loaded = load_model(found.model).task
    assert loaded.task.image_head is config.image_head
    assert loaded.task.labels == LABELS
    pixels = Pictures(tiny_pretrained().preprocessing).pixels([row.image for row in data.test])
    with torch.no_grad():
        again = [LABELS[place] for place in loaded(pixels).argmax(1).tolist()]
    assert again == [choice.label for choice in found.predictions["test"]]


def test_the_average_is_what_is_scored_and_saved(data, model, tuned, tmp_path):
    """With a decay near 1 and few steps it lies between the first weights and the last."""
    config = replace(SHORT, average=0.9, lr=1e-2)
    last, averaged = tuned("a", replace(config, average=0.0)), tuned("b", config)
    name = "vision.blocks.1.fc1.weight"
    before = load_model(model).model.state_dict()[name]
    moves = [(load_model(found.model).model.state_dict()[name] - before).norm() for found in (averaged, last)]
    assert 0 < moves[0] < moves[1]
    lines = json_lines(tmp_path / "b" / "validation.jsonl")
    scores = averaged.task.metrics(data.valid, averaged.task.predict(data.valid))
    best = max(lines, key=lambda line: (line["accuracy"], line["step"]))
    assert scores["accuracy"] == pytest.approx(best["accuracy"])


def test_variation_and_average_are_resumed_exactly(tuned, monkeypatch):
    config = replace(SHORT, image=STRONG, average=0.9, layer_decay=0.8)
    whole = tuned("whole", config)
    loss, calls = ImageClassificationTask.loss, []

    def breaking(self, batch, generator):
        calls.append(0)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return loss(self, batch, generator)

    monkeypatch.setattr(ImageClassificationTask, "loss", breaking)
    with pytest.raises(KeyboardInterrupt):
        tuned("parts", config)
    resumed = tuned("parts", config, resume=True)
    assert len(calls) == 7 + 4  # from the checkpoint of step 4
    ours, theirs = (load_model(found.model).model.state_dict() for found in (whole, resumed))
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_a_picture_that_ends_early_is_used_and_told_of(
    model: Path, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = saved(base(96, 120), "JPEG", quality=90)
    with (samples / "shapes.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    (samples / first["image"]).write_bytes(whole[: len(whole) * 7 // 10])
    out, new = tmp_path / "out", tmp_path / "new"
    done = on_sample("image-classification", model, out, replace(SHORT, steps=2), samples)
    tuned = capsys.readouterr().err
    xfm.score(done.model, samples / "shapes.csv", new, progress=False)
    for folder, said in ((out, tuned), (new, capsys.readouterr().err)):
        ((place, flaw),) = details_of(folder)["partial_pictures"].items()
        assert place.endswith("shapes.csv:2")
        assert "file ends early" in flaw
        assert f"Of 1 picture the file ends early; what is there is used: {place}" in said
