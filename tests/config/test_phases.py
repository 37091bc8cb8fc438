"""Curricula: phases in steps, and what holds in which."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.config.conftest import write
from tests.training.corpus import tiny_recipe
from xfm.config.data import Augmentation
from xfm.config.load import dump_recipe, load_recipe
from xfm.config.recipe import Phase


def test_phases_in_steps():
    recipe = tiny_recipe(Path("/data"), steps=9)
    recipe = replace(recipe, curriculum=[*recipe.curriculum, Phase(until=0.34), Phase(until=1.0)])
    assert [s.until for s in recipe.stretches()] == [1 / 3, 1.0]  # what rounds to nothing is left out
    assert recipe.ends() == [1 / 3]
    assert recipe.stretches()[0].data.pair.batch_size == 0
    assert recipe.stretches()[1].data.pair.corpora[0].path == "/data/scenes-*.tar"
    with pytest.raises(ValueError, match="until"):
        replace(recipe, curriculum=[Phase(until=math.nextafter(1, 2))])


def test_the_clock_leaves_no_phase_out():
    recipe = tiny_recipe(Path("/data"), steps=2, minutes=5)
    recipe = replace(recipe, curriculum=[*recipe.curriculum, Phase(until=0.34), Phase(until=1.0)])
    assert recipe.ends() == [1 / 3, 0.34]


def test_the_phases_of_nano():
    """Contrast and masked text first, then fusion with ever harder negatives, at last all six objectives."""
    first, *middle, last = load_recipe("nano").stretches()
    assert (first.weights.mlm, first.weights.itc) == (1, 1)
    fusion = ("itm", "imlm", "mim", "box_l1", "box_giou")
    assert not any(getattr(first.weights, name) for name in fusion)
    assert all(getattr(last.weights, name) for name in fusion)
    assert [stretch.inherit_words for stretch in (first, *middle, last)] == [False, True, False, False]
    floors = [stretch.weights.negative_floor for stretch in (*middle, last)]
    assert floors == sorted(floors, reverse=True)
    for stretch in (first, *middle, last):
        data = stretch.data
        assert (data.image.batch_size > 0) == bool(stretch.weights.mim)
        for stream, shards in zip(
            (data.text, data.image, data.pair, data.region),
            ("text.jsonl", "pictures-*", "scenes-*", "scenes-*"),
            strict=True,
        ):
            assert shards in stream.corpora[0].path
            assert stream.augmentation is Augmentation.NONE or stream is data.text


def test_options_hold_in_every_phase_that_does_not_set_them_itself():
    options = ["--data.pair.corpora", '[{"path": "/own.tar"}]', "--training.weights.itc", "3"]
    options += ["--data.pair.batch_size", "4", "--data.pair.augmentation", "mild"]
    recipe, nano = load_recipe("nano", options), load_recipe("nano")
    stretches = recipe.stretches()
    assert nano.curriculum[0].pair is not None
    own = nano.curriculum[0].pair.batch_size
    assert [s.data.pair.batch_size for s in stretches] == [own, 4, 4, 4]
    assert {s.data.pair.corpora[0].path for s in stretches} == {"/own.tar"}
    assert {s.data.pair.augmentation for s in stretches} == {Augmentation.MILD}
    assert {s.weights.itc for s in stretches} == {3.0}
    assert recipe.overruled(nano) == [
        f"data.pair.batch_size 4: the phase until {nano.curriculum[0].until:g} of the run keeps its own "
        f"{own} (see curriculum)"
    ]
    assert nano.overruled(nano) == []


def test_a_phase_may_change_one_field(tmp_path):
    phases = [{"until": 0.5, "pair": {"augmentation": "mild"}, "weights": {"itm": 0.5}}]
    recipe = load_recipe(write(tmp_path / "r.yaml", base="nano", curriculum=phases))
    first, last = recipe.stretches()
    assert first.data.pair == replace(last.data.pair, augmentation=Augmentation.MILD)
    assert first.weights == replace(last.weights, itm=0.5)
    assert recipe.curriculum[0].pair is not None
    assert recipe.curriculum[0].pair.augmentation is Augmentation.MILD
    assert "PUBLISHED" not in dump_recipe(recipe)
