"""Fine-tuning on pictures: variations, averages, exactly resumed; a bad picture is left out and named."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.alike import some, thorough
from tests.evaluation.tiny import COLOURS, tiny_task
from tests.finetuning import conftest
from tests.finetuning.conftest import FILES, SHORT, Cli, after_step, on_sample, on_table, photos, stopped
from tests.folders import bad_rows
from tests.official.pictures import noisy_colours
from tests.reports.written import details_of, page_of
from xfm.config.image import UNVARIED, ImageTrainingConfig
from xfm.config.tasks import task_spec
from xfm.config.training import Precision
from xfm.core.errors import UserError
from xfm.data.skipped import BAD_FILE
from xfm.data.variation import Mixup
from xfm.models.folder import load_model
from xfm.reports.scores import read_scores
from xfm.tasks.image_classification import ImageClassificationTask
from xfm.tasks.rows import Labelled

CAREFUL = replace(conftest.SHORT, steps=8, lr=1e-3, evaluate_every=4, patience=0, baseline=False)


def test_the_loss_of_mixed_pictures_is_that_of_their_shares(tmp_path):
    image = ImageTrainingConfig(mixup=0.8, cutmix=1.0, label_smoothing=0.1)
    rows = [Labelled(path, path.parts[-2]) for path in noisy_colours(tmp_path, train=8)]
    how = {"batch_size": 4, "precision": Precision.FP32, "image": image}
    mixing = tiny_task(ImageClassificationTask, rows, tuple(sorted(COLOURS)), **how)
    batch = next(mixing.portions(0, 1)).batch
    for seed in range(4):
        torch.manual_seed(seed)
        pixels, shares = Mixup(image, 4)(batch.pixels, batch.targets)
        logits = mixing.module(pixels)
        smooth = 0.9 * shares + 0.1 / 4
        expected = -(smooth * F.log_softmax(logits, dim=1)).sum(1).mean()
        torch.manual_seed(seed)
        torch.testing.assert_close(mixing.loss(batch, torch.Generator()).total, expected)


@thorough
def test_the_average_is_what_is_saved(model, tmp_path):
    """With a decay near 1 and few steps it lies between the first weights and the last."""
    config, kind, name = replace(CAREFUL, lr=1e-2), "image-classification", "vision.blocks.1.fc1.weight"
    runs = [on_sample(kind, model, tmp_path / f"{d}", replace(config, average=d)).model for d in (0.9, 0.0)]
    before, averaged, last = (load_model(one).model.state_dict()[name] for one in (model, *runs))
    assert 0 < (averaged - before).norm() < (last - before).norm()


WITH_PICTURES = [kind for kind in FILES if task_spec(kind).has_images]
BROKEN = b"\x89PNG\r\n\x1a\n broken"


def a_picture_of(samples: Path, kind: str) -> tuple[Path, set[str]]:
    """A picture of a task's sample, and the places of the rows that name it."""
    file, _ = FILES[kind]
    text = (samples / file).read_text().splitlines()
    name = re.findall(r"pictures/[\w-]+\.png", text[-1])[-1]
    places = {f"{samples / file}:{number}" for number, row in enumerate(text, start=1) if name in row}
    return samples / name, places


@pytest.mark.parametrize("kind", some(WITH_PICTURES, 4))
def test_a_row_with_a_bad_picture_is_left_out(kind: str, model: Path, samples: Path, tmp_path: Path) -> None:
    picture, places = a_picture_of(samples, kind)
    picture.write_bytes(BROKEN)
    out, config = tmp_path / "out", replace(SHORT, steps=2, baseline=False)
    with pytest.raises(UserError, match=rf"{picture.name}.*--max-bad leaves out 0 at most"):
        on_sample(kind, model, out, replace(config, max_bad=0), samples)
    assert not (out / "log.jsonl").exists()
    done = on_sample(kind, model, out, config, samples)
    named = rf"{len(places)} of 10 rows w\w+ left out: .*{FILES[kind][0]}:\d+ \(.*{picture.name}"
    assert re.search(named, done.left_out)
    kept = details_of(out)["left_out"]
    assert {row["place"] for row in kept["rows"]} == places == {*bad_rows(out)}
    assert kept["by_split"] == {"train": len(places)}
    page = page_of(out)
    assert all(place in page for place in places)
    assert sum(len(rows) for rows in done.predictions.values()) > 0


def many(folder: Path, bad: set[int], rows: int = 20) -> Path:
    """A table of pictures of two classes, some of them broken."""
    (folder / "pictures").mkdir(parents=True)
    lines = ["image,label"]
    for number in range(rows):
        label, path = ("red", "blue")[number % 2], folder / "pictures" / f"{number}.png"
        Image.new("RGB", (8, 8), label).save(path)
        if number in bad:
            path.write_bytes(BROKEN)
        lines.append(f"pictures/{number}.png,{label}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return folder / "rows.csv"


def command(model: Path, table: Path, out: Path, *options: object) -> tuple[object, ...]:
    given = ("--model", model, "--train", table, "--out", out, "--steps", 2, *options)
    return "finetune", "image-classification", *given


def test_a_folder_says_what_it_passes_over(model: Path, tmp_path: Path, cli: Cli) -> None:
    """Eighty pictures of which fifty are used without a word: every one that is no picture is counted."""
    folder = photos(tmp_path / "photos")
    (folder / "red" / "2.png").write_bytes(BROKEN)
    (folder / "red" / "a.mov").write_bytes(b"")
    said = cli.prints(*command(model, folder, tmp_path / "out"))
    assert "left out 1 .mov (red/a.mov)" in cli.errors
    assert "1 of 10 rows was left out" in said
    assert str(tmp_path / "out" / BAD_FILE) in said
    kept = details_of(tmp_path / "out")["left_out"]
    assert "left out 1 .mov (red/a.mov)" in kept["folders"][0]["says"]
    assert "left out 1 .mov (red/a.mov)" in page_of(tmp_path / "out")


# ---------------------------------------------------------------- pictures that go bad later
@thorough
@pytest.mark.parametrize(
    ("workers", "image"), some([(1, ImageTrainingConfig(flip=0.5)), (0, UNVARIED)], 2), ids=str
)
def test_a_picture_that_goes_bad_in_the_middle_is_blank_and_counted(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, image: ImageTrainingConfig
) -> None:
    """Pictures do not fit into memory and are read again, varied or not, by workers or without."""
    table, out = many(tmp_path / "data", set()), tmp_path / "out"
    monkeypatch.setattr("xfm.tasks.images.DEFAULT_LIMIT", 1)
    monkeypatch.setattr("xfm.tasks.images.TaskImages.__init__.__defaults__", (1,))

    def spoil() -> None:
        for number in (3, 4):
            (tmp_path / "data" / "pictures" / f"{number}.png").write_bytes(BROKEN)

    config = replace(SHORT, steps=8, patience=0, image=image, workers=workers, baseline=False)
    with after_step(monkeypatch, out, 2, spoil):
        done = on_table(model, table, out, config, "image-classification")
    lost = bad_rows(out)
    assert {Path(place).name for place in lost} == {"3.png", "4.png"}
    assert all("blank since then" in reason for reason in lost.values())
    assert "2 of 22 rows" in done.left_out or "2 of 20 rows" in done.left_out
    assert read_scores(out / "metrics.json")


def test_a_resumed_run_has_the_same_rows_or_is_refused(model, tmp_path, monkeypatch):
    table = many(tmp_path / "data", {3})
    config = replace(SHORT, patience=0, baseline=False)

    def run(out: Path, resume: bool = False) -> None:
        on_table(model, table, out, config, "image-classification", resume=resume)

    run(tmp_path / "whole")
    with stopped(monkeypatch, tmp_path / "parts", 3):
        run(tmp_path / "parts")
    broken, good = (tmp_path / "data" / "pictures" / name for name in ("3.png", "4.png"))
    before = good.read_bytes()
    good.write_bytes(BROKEN)
    with pytest.raises(UserError, match="was trained on other rows"):
        run(tmp_path / "parts", resume=True)
    good.write_bytes(before)
    broken.write_bytes(before)
    with pytest.raises(UserError, match="was trained on other rows"):
        run(tmp_path / "parts", resume=True)
    broken.write_bytes(BROKEN)
    run(tmp_path / "parts", resume=True)
    for name in ("metrics.json", "model/task.safetensors", BAD_FILE):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
