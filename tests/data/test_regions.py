"""Rows of region batches, and what pairs and long texts draw."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import Corpus, batches, picture_bytes, unaugmented, write_tar
from tests.data.picture_kinds import saved
from xfm.config.data import Augmentation
from xfm.data.builder import passage
from xfm.data.schema import RegionBatch

SIZE = (120, 60)


def config_of(corpus: Corpus, tmp_path, records: list[dict], pictures: list[bytes], mode, **changes):
    """One epoch a batch over records, each of the first picture unless it names another by its place."""
    members = {}
    for i, record in enumerate(records):
        members[f"{i}.jpg"] = pictures[record.get("picture", 0)]
        members[f"{i}.json"] = json.dumps(record).encode()
    stream = replace(unaugmented(write_tar(tmp_path / "a.tar", members), len(records)), augmentation=mode)
    return corpus.only(region=stream, **changes)


def region_batch(corpus: Corpus, tmp_path, records: list[dict], mode=Augmentation.NONE, step=0, **changes):
    pictures = [picture_bytes(np.random.default_rng(seed), *SIZE) for seed in range(2)]
    config = config_of(corpus, tmp_path, records, pictures, mode, **changes)
    (batch,) = batches(config, step, step + 1, seed=1)
    return batch.region


def rows_of(batch: RegionBatch, tokenizer) -> list[tuple[str, list[float]]]:
    return [
        (tokenizer.decode(ids), box.tolist()) for ids, box in zip(batch.tokens.ids, batch.boxes, strict=True)
    ]


def test_boxes_and_patches(corpus, tmp_path):
    regions = [{"phrase": "The cat!", "box": [0, 0, 15, 7.5]}, {"phrase": "the dog", "box": [60, 30, 60, 30]}]
    batch = region_batch(corpus, tmp_path, [{"captions": ["A cat"], "regions": regions}])
    assert rows_of(batch, corpus.tokenizer) == [
        ("a cat", [0.5, 0.5, 1.0, 1.0]),
        ("the cat", [0.0625, 0.0625, 0.125, 0.125]),
        ("the dog", [0.75, 0.75, 0.5, 0.5]),
    ]
    assert batch.is_image.tolist() == [True, False, False]
    assert batch.image_index.tolist() == [0, 0, 0]
    visible = batch.visible.view(3, 8, 8)
    assert visible[0].all()
    assert visible[1].nonzero().tolist() == [[0, 0]]
    assert visible[2].nonzero().tolist() == [[r, c] for r in range(4, 8) for c in range(4, 8)]


def test_identities(corpus, tmp_path):
    """Equal for the same picture and box only; a region of the whole picture equals the caption row."""
    one = {"captions": ["same text"], "regions": [{"phrase": "same text", "box": [5, 5, 20, 20]}]}
    two = {"captions": ["Same, text."], "regions": [{"phrase": "x", "box": [5, 5, 20, 21]}]}
    whole = {"captions": [], "regions": [{"phrase": "x", "box": [0, 0, *SIZE]}]}
    records = [one, two, whole, {**one, "picture": 1}]
    batch = region_batch(corpus, tmp_path, records)
    columns = (batch.image_identity, batch.text_identity, batch.is_image)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    assert len(rows) == 7
    captions = [image for image, _, is_image in rows if is_image]
    assert len(set(captions)) == 2  # two pictures
    assert len({image for image, _, _ in rows}) == 5  # and three boxes
    texts = [text for _, text, is_image in rows if is_image]
    assert len(set(texts)) == 1
    assert sum(text == texts[0] for _, text, _ in rows) == 5


@pytest.mark.parametrize("mode", list(Augmentation))
@pytest.mark.parametrize("words", ["a cat left of it", "nothing"])
def test_flips(corpus, tmp_path, mode, words):
    """Never mirrored when a caption or phrase names a side; otherwise in the published mode only."""
    regions = [{"phrase": "it", "box": [0, 0, 20, 60]}, {"phrase": words, "box": [0, 0, 120, 60]}]
    flipped = 0
    for step in range(20):
        batch = region_batch(corpus, tmp_path, [{"regions": regions}], mode, step)
        box = batch.boxes[0]
        flipped += bool(len(batch.boxes) == 2 and box[0] > 0.5 and box[2] < 0.4)
    assert (flipped > 0) == (mode is Augmentation.PUBLISHED and words == "nothing")


@pytest.mark.parametrize("mode", list(Augmentation))
def test_boxes_follow_the_pixels(corpus, tmp_path, mode):
    """A white square on black is found where its box says."""
    picture = np.zeros((60, 120, 3), np.uint8)
    picture[20:44, 30:66] = 255
    record = {"regions": [{"phrase": "square", "box": [30, 20, 36, 24]}]}
    pictures = [saved(Image.fromarray(picture), "PNG")]
    for batch in batches(config_of(corpus, tmp_path, [record], pictures, mode), 0, 40, seed=5):
        bright = (batch.region.pixels[0].mean(0) > 0.2).nonzero()
        if len(bright) in (0, 96 * 96):
            continue  # a colour operation made the picture uniform, or the crop is the square
        low, high = bright.min(0).values / 96, (bright.max(0).values + 1) / 96
        cx, cy, w, h = batch.region.boxes[0].tolist()
        expected = [cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2]
        assert [*low.tolist(), *high.tolist()] == pytest.approx(expected, abs=2.5 / 96)


def test_so_many_rows_of_a_picture_stay_on_average(corpus, tmp_path):
    """A random choice of all rows, in their order; every picture is shown."""
    regions = [{"phrase": f"cat {place}", "box": [10 * place, 0, 20, 20]} for place in range(5)]
    records, size = [{"regions": regions}] * 5, 5
    everything = region_batch(corpus, tmp_path, records)
    batch = region_batch(corpus, tmp_path, records, mean_regions=1.2)
    few, many = (rows_of(one, corpus.tokenizer) for one in (batch, everything))
    assert (len(few), len(many), len(batch.pixels)) == (int(1.2 * size), 5 * size, size)
    places = iter(zip(many, everything.image_index.tolist(), strict=True))
    assert all(one in places for one in zip(few, batch.image_index.tolist(), strict=True))
    with pytest.raises(ValueError, match=r"mean_regions is 0.5: choose 0, or at least 1"):
        corpus.only(mean_regions=0.5)


def test_passages_of_long_texts():
    rng = np.random.default_rng(0)
    short = "word " * 20
    assert passage(rng, short, 128) == short
    words = [f"w{i:04d}" for i in range(3000)]
    long = " ".join(words)
    starts = []
    for _ in range(300):
        text = passage(rng, long, 64)
        assert text in long
        assert text.split()[0] in words
        assert len(text) >= 4 * 64 - 8
        starts.append(int(text[1:5]))
    assert min(starts) < 100
    assert max(starts) > 2800
    assert len(passage(rng, "x" * 10_000, 16)) <= 256
