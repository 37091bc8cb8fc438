"""Every data set of linear evaluation in miniature, read through torchvision."""

import pickle
from pathlib import Path

import pytest

from tests.official.image_sets import WRITERS, know_digests
from xfm.core.errors import UserError
from xfm.data.images import load_image
from xfm.evaluation.benchmarks.read.image_sets import IMAGE_SETS, read_image_set
from xfm.evaluation.benchmarks.read.imagenet import CACHE

ROWS = {
    "food101": (6, 0, 4),
    "cifar10": (20, 0, 4),
    "fgvc-aircraft": (4, 4, 4),
    "dtd": (4, 4, 4),
    "flowers102": (2, 2, 4),
    "mnist": (6, 0, 4),
    "country211": (4, 4, 4),
    "rendered-sst2": (4, 4, 4),
    "caltech101": (60, 0, 4),
    "pcam": (4, 4, 4),
    "fer2013": (4, 4, 4),
}
"""Of the splits of training, validation and test."""


@pytest.mark.parametrize("kind", [*IMAGE_SETS])
def test_every_data_set_is_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "pcam":
        pytest.importorskip("h5py")
    WRITERS[kind](tmp_path)
    know_digests(tmp_path, monkeypatch)
    corpus = read_image_set(tmp_path, kind)
    splits = (corpus.train, corpus.validation, corpus.scored["test"])
    assert tuple(map(len, splits)) == ROWS.get(kind, (4, 0, 4))
    rows = [row for split in splits for row in split]
    assert {row.label for row in rows} <= set(corpus.classes)
    assert len({row.label for row in corpus.train}) >= 2
    assert len({row.image for row in rows}) == len(rows)
    assert all(load_image(row.image).shape[0] == 3 for row in rows[:3])


def test_arrays_are_unpacked_once_and_without_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS["cifar10"](tmp_path)
    know_digests(tmp_path, monkeypatch)
    first = read_image_set(tmp_path, "cifar10").train[1]
    assert first.image.is_relative_to(tmp_path / CACHE / "cifar10" / "train")
    assert first.label == "automobile"
    stored = pickle.loads((tmp_path / "cifar-10-batches-py" / "data_batch_1").read_bytes())["data"][1]
    assert (load_image(first.image).numpy() == stored.reshape(3, 32, 32)).all()
    written = first.image.stat().st_mtime_ns
    assert read_image_set(tmp_path, "cifar10").train[1].image.stat().st_mtime_ns == written


def test_a_pickle_that_is_not_the_official_one_is_never_loaded(tmp_path: Path) -> None:
    """Without the official digests torchvision refuses the miniature, as it would refuse a forged file."""
    WRITERS["cifar10"](tmp_path)
    with pytest.raises(UserError, match="torchvision cannot read cifar10"):
        read_image_set(tmp_path, "cifar10")


def test_sun397_needs_its_partitions(tmp_path: Path) -> None:
    WRITERS["sun397"](tmp_path)
    labels = [row.label for row in read_image_set(tmp_path, "sun397").train]
    assert labels == ["abbey"] * 2 + ["bar/indoor"] * 2
    (tmp_path / "SUN397" / "Testing_01.txt").write_text("/z/zoo/sun_a.jpg\n")
    with pytest.raises(UserError, match=r"Testing_01\.txt:1: .* is of no class"):
        read_image_set(tmp_path, "sun397")
    (tmp_path / "SUN397" / "Testing_01.txt").unlink()
    with pytest.raises(UserError, match="put the official partitions"):
        read_image_set(tmp_path, "sun397")
