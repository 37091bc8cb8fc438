"""Every picture, and form of one, is read alike by fine-tuning, predict, pipelines and pre-training."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import xfm
from tests.alike import some
from tests.data.conftest import Corpus, unaugmented, write_tar
from tests.data.picture_kinds import Kind, base, exif, heic, kinds, saved
from tests.data.web_server import serving
from tests.inference.support import Models, Pipe
from tests.refusals import expect_refusal
from xfm.config.pipelines import UrlRules
from xfm.core.errors import UserError
from xfm.data.images import decode, to_uint8
from xfm.data.loader import PretrainingData
from xfm.data.transforms import CLIP, View, show
from xfm.inference.answer_file import bad_file
from xfm.inference.input_parsing import read_original
from xfm.inference.prediction import predict
from xfm.tasks.grounding import GroundingTask
from xfm.tasks.images import TaskImages

KINDS = kinds()
SOME = some([*KINDS], 4)
"""Pre-training reads all of them, in one run."""
SIDE = 32


def near(found: torch.Tensor, kind: Kind) -> bool:
    """Whether [3, S, S] of 0 to 255 are what a viewer shows, made small."""
    assert kind.shown is not None
    pixels = torch.tensor(kind.shown).permute(2, 0, 1)
    expected = show(pixels, View(0, 0, pixels.shape[2], pixels.shape[1]), found.shape[1:])
    return float((found - expected.float()).abs().mean()) <= kind.tolerance


@pytest.mark.parametrize("name", SOME)
def test_fine_tuning(models: Models, tmp_path: Path, name: str) -> None:
    kind, found = KINDS[name], TaskImages(models[None].preprocessing)
    path = tmp_path / kind.name
    path.write_bytes(kind.data)
    unreadable = found.unreadable([path])
    if kind.shown is None:
        assert re.search(kind.words, unreadable[path])
        return
    assert not unreadable
    assert near(found.uint8(path).float(), kind)


@pytest.mark.parametrize("name", SOME)
def test_predict_and_pipelines(embed: Pipe, tmp_path: Path, name: str) -> None:
    kind, out = KINDS[name], tmp_path / "answers.jsonl"
    path = tmp_path / kind.name
    path.write_bytes(kind.data)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"image": kind.name}) + "\n")
    if kind.shown is None:
        for form in (path, kind.data):
            with pytest.raises(UserError, match=kind.words):
                embed(form)
        with pytest.raises(UserError, match=rf"rows.jsonl:1: .*({kind.words})"):
            predict(embed, rows, out)
        assert re.search(kind.words, bad_file(out).read_text())
        return
    # Lossy files are not what was saved to the last digit; that they are read rightly, other tests say.
    expected = embed(kind.shown if kind.tolerance <= 1 else decode(kind.data))
    np.testing.assert_allclose(embed(path), expected, atol=1e-4)
    np.testing.assert_allclose(embed(kind.data), expected, atol=1e-4)
    outcome = predict(embed, rows, out)
    (line,) = [json.loads(line) for line in out.read_text().splitlines()]
    np.testing.assert_allclose(line["prediction"], expected, atol=1e-4)
    assert outcome.answered == 1


@pytest.fixture(scope="module")
def loaded(models: Models, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What pre-training makes of all kinds: pixels of those it reads, reasons of those it does not."""
    folder = tmp_path_factory.mktemp("shards")
    names = {f"{number:04d}": name for number, name in enumerate(KINDS)}
    members = {key + Path(KINDS[name].name).suffix: KINDS[name].data for key, name in names.items()}
    shard = write_tar(folder / "kinds-0000.tar", members)
    corpus = Corpus.of(folder, models[None].tokenizer)
    data = PretrainingData(corpus.only(image=unaugmented(shard, 1), max_bad=1000), SIDE, 2, 0)
    found = {batch.origins[0].key: batch for batch in data.batches(0, len(KINDS))}
    return {
        "read": {names[key]: batch.image.pixels[0] for key, batch in found.items() if batch.image},
        "bad": {names[bad.origin.key]: bad.reason for bad in data.bad.values()},
    }


def test_pre_training(loaded: dict[str, Any]) -> None:
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in CLIP)
    for name, kind in KINDS.items():
        if kind.shown is None:
            assert re.search(kind.words, loaded["bad"][name]), name
            continue
        assert name not in loaded["bad"]
        assert near((loaded["read"][name] * std + mean) * 255, kind), name


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("suffix", [".jpg", ".heic"])
def test_boxes_are_in_what_a_viewer_shows(
    tmp_path: Path, models: Models, orientation: int, suffix: str
) -> None:
    """A red field in an upright picture: rows, region pre-training and drawings all mean the same place."""
    box = [4, 6, 16, 10]  # left, top, width, height
    upright = Image.new("RGB", (64, 40), "white")
    upright.paste("red", (4, 6, 20, 16))
    stored = upright.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else upright
    block = exif(orientation)
    data = heic(stored, exif=block) if suffix == ".heic" else saved(stored, "JPEG", exif=block, quality=95)
    (tmp_path / f"a{suffix}").write_bytes(data)
    annotation = {"image": f"a{suffix}", "phrase": "red", "box": box}
    (tmp_path / "rows.jsonl").write_text(json.dumps(annotation))

    (row,) = GroundingTask.read(tmp_path / "rows.jsonl")
    assert row.boxes[0] == (4 / 64, 6 / 40, 20 / 64, 16 / 40)

    (tmp_path / "regions.jsonl").write_text(json.dumps({"image": f"a{suffix}", "regions": [annotation]}))
    corpus = Corpus.of(tmp_path, models[None].tokenizer)
    config = corpus.only(region=unaugmented(tmp_path / "regions.jsonl", 1), caption_rows=False)
    (batch,) = PretrainingData(config, 64, 8, 0).batches(0, 1)
    assert batch.region is not None
    np.testing.assert_allclose(batch.region.boxes[0], [12 / 64, 11 / 40, 16 / 64, 10 / 40], atol=1e-6)
    x, y = 12 * 64 // 64, 11 * 64 // 40  # the middle of the box, where the picture is red
    assert batch.region.pixels[0, 0, y, x] > batch.region.pixels[0, 1, y, x] + 1

    locate = xfm.pipeline("grounding", model=models["grounding"])
    predict(locate, tmp_path / "rows.jsonl", tmp_path / "out.jsonl", draw=tmp_path / "drawn")
    drawn = Image.open(tmp_path / "drawn" / "1.jpg")
    scale = drawn.width // 64
    assert drawn.size == (64 * scale, 40 * scale)
    answer = json.loads((tmp_path / "out.jsonl").read_text())["prediction"]
    assert answer["box"]["xmax"] <= 64
    assert answer["box"]["ymax"] <= 40


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff", "avif"])
def test_pil_pictures_are_turned_likewise(format: str) -> None:
    for orientation in range(1, 9):
        data = KINDS[f"{format} {orientation}"].data
        expected, opened = decode(data), to_uint8(Image.open(io.BytesIO(data)))
        assert opened.shape == expected.shape
        assert (opened.int() - expected.int()).abs().max() <= 4


def test_a_limit_that_is_lifted(tmp_path: Path, embed: Pipe, monkeypatch: Any) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(saved(base(), "PNG"))
    monkeypatch.setenv("XFM_MAX_PIXELS", "2399")
    for form in (path, base()):
        with expect_refusal("60 x 40 pixels", "limit of 2399", "XFM_MAX_PIXELS=2400"):
            embed(form)
    monkeypatch.setenv("XFM_MAX_PIXELS", "2400")
    for form in (base(), {"image": str(path)}):
        np.testing.assert_allclose(embed(path), embed(form), atol=1e-6)
    monkeypatch.setenv("XFM_MAX_PIXELS", "many")
    with expect_refusal("XFM_MAX_PIXELS is 'many'; give a number"):
        embed(path)


# ---------------------------------------------------------------- forms that users give
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_arrays_tensors_and_pil_pictures_are_the_same_pixels(width: int, height: int, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = torch.from_numpy(array).permute(2, 0, 1)
    for form in (
        array,
        np.asfortranarray(array),
        expected,
        Image.fromarray(array),
        np.dstack([array, np.full_like(array[..., :1], 255)]),
    ):
        assert torch.equal(to_uint8(form), expected)
    grey = torch.from_numpy(array[..., 0]).expand(3, -1, -1)
    for form in (array[..., 0], array[..., :1], grey[:1], Image.fromarray(array[..., 0])):
        assert torch.equal(to_uint8(form), grey)


def test_what_is_transparent_shows_white() -> None:
    array = np.zeros((2, 2, 4), dtype=np.uint8)
    array[0, :, 3] = 255
    for form in (
        array,
        torch.from_numpy(array).permute(2, 0, 1),
        Image.fromarray(array),
        saved(Image.fromarray(array), "PNG"),
    ):
        assert read_original(form)[0].tolist() == [[0, 0], [255, 255]]


def test_a_pipeline_fetches_what_is_allowed(models: dict) -> None:
    with serving() as server:
        for allowed, words in (
            (True, "not a public address"),
            (UrlRules(seconds=5, private=True), "not a JPEG, PNG, WebP"),
            (["*.example.org"], "127.0.0.1 is none of the hosts that are asked: *.example.org"),
        ):
            with expect_refusal(words):
                xfm.pipeline("embed", model=models[None], allow_urls=allowed)(image=f"{server}/picture")
