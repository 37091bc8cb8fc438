import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.world.conftest import draw
from tests.world.oracle import View
from xfm.world.captions import captions
from xfm.world.grammar import Relation, excluded, holds, is_between, plural, relation_between
from xfm.world.names import OTHER
from xfm.world.palette import COLOURS
from xfm.world.render import Renderer
from xfm.world.rng import Rng
from xfm.world.scene import SIDES, Scene, SceneSampler, Split
from xfm.world.units import WorkerState

RECORDED_SCENE = [
    ("construction crane", [61, 12, 29, 30], "top right"),
    ("bone", [22, 5, 30, 30], "top"),
    ("mirror", [25, 53, 20, 29], "bottom"),
    ("octopus", [60, 45, 21, 21], "right"),
]
RECORDED_CAPTIONS = [
    "a bone, a mirror, an octopus and a construction crane",
    "a bone at the top centre, a construction crane in the upper right, "
    "an octopus on the right side and a mirror",
]


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 5), side=st.sampled_from((64, 96, 160, 224)))
def test_boxes_lie_inside_apart_and_where_they_say(
    studio: WorkerState, seed: int, count: int, side: int
) -> None:
    sampler = SceneSampler(studio.catalog, side)
    rng = Rng("boxes", seed)
    scene = sampler.place(rng, sampler.choose(rng, count))
    view = View(scene)
    assert len(scene.objects) == count
    for item in scene.objects:
        assert 0 <= item.left <= side - item.width
        assert 0 <= item.top <= side - item.height
        assert view.cell(item.box) == divmod(item.place, 3)
        assert view.size(item.box) == item.size
    for i, a in enumerate(scene.objects):
        for b in scene.objects[:i]:
            across = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
            down = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
            assert across <= 0 or down <= 0


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_relations_agree_with_the_oracle(studio: WorkerState, seed: int) -> None:
    scene = draw(studio, seed, 4)
    view, side = View(scene), scene.image_size
    for a in scene.objects:
        for b in scene.objects:
            if a is b:
                continue
            best = relation_between(a, b, side)
            inverse = relation_between(b, a, side)
            assert inverse == (None if best is None else best.inverse)
            for relation in Relation:
                word = relation.name.lower()
                assert not (holds(a, relation, b, side) and excluded(a, relation, b, side))
                assert not holds(a, relation, b, side) or view.clearly(a.box, word, b.box)
                assert not excluded(a, relation, b, side) or view.never(a.box, word, b.box)
                if holds(a, relation, b, side):
                    assert excluded(b, relation, a, side)
            for c in scene.objects:
                if c is not a and c is not b and is_between(a, b, c, side):
                    assert is_between(a, c, b, side)
                    assert view.between(a.box, b.box, c.box)


def test_scene_graphs_are_the_same_everywhere(studio: WorkerState) -> None:
    """Recorded draws and a recorded scene: a change here changes every world, and must be meant."""
    rng = Rng("recorded", 5)
    assert [rng.below(1000) for _ in range(6)] == [701, 272, 370, 955, 820, 561]
    scene = draw(studio, 7, 4)
    assert [(o.name, o.box, o.place.words) for o in scene.objects] == RECORDED_SCENE
    assert captions(Rng("words", 7), scene, 2) == RECORDED_CAPTIONS


def test_splits_hold_what_they_should(studio: WorkerState) -> None:
    catalog = studio.catalog
    for split in (Split.TRAIN, Split.COMBINATIONS, Split.OBJECTS):
        sampler, rng = studio.sampler(split), Rng("split", split)
        for _ in range(300):
            kinds = sampler.choose(rng, rng.pick((2, 3, 4)))
            pairs = [catalog.is_heldout_pair(a, b) for a in kinds for b in kinds]
            assert any(pairs) == (split is Split.COMBINATIONS)
            hidden = set(kinds) & set(catalog.heldout)
            assert hidden == (set(kinds) if split is Split.OBJECTS else set())
            assert not any(a is not b and catalog.confusable(a, b) for a in kinds for b in kinds)


# ------------------------------------------------------------------ pixels
VISIBLE = 10  # opacity (of 255) from which a pixel counts


def test_boxes_are_the_extents_of_the_rendered_alpha(studio: WorkerState) -> None:
    """For every object at every size: the first and last row and column of the box hold visible pixels."""
    renderer = Renderer(96)
    for kind in studio.catalog.objects:
        for sides in SIDES.values():
            width, height = kind.scaled(sides[0])
            _, clear = renderer.sprite(kind, width, height)
            assert clear.shape == (height, width, 1)
            alpha = 255 - clear[..., 0]
            for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]):
                assert edge.max() >= VISIBLE, (kind.name, width, height)


def test_pixels_differ_from_the_background_inside_the_boxes_only(studio: WorkerState) -> None:
    for seed in range(40):
        scene = draw(studio, seed, 1 + seed % 5)
        pixels = studio.renderer.render(scene).astype(int)
        empty = studio.renderer.render(Scene((), scene.background, scene.image_size)).astype(int)
        changed = np.abs(pixels - empty).sum(2) > 0
        for item in scene.objects:
            box = changed[item.top : item.top + item.height, item.left : item.left + item.width]
            assert box.mean() > 0.15
            changed[item.top : item.top + item.height, item.left : item.left + item.width] = False
        assert not changed.any()


# ------------------------------------------------------------------ objects
def test_enough_objects_with_clean_unique_names(studio: WorkerState) -> None:
    catalog = studio.catalog
    assert len(catalog.seen) >= 600
    assert len(catalog.heldout) == 60
    assert not set(catalog.seen) & set(catalog.heldout)
    names = [o.name for o in catalog.objects]
    assert len(set(names)) == len(names)
    assert len({plural(n) for n in names}) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z]+([ -][a-z]+){0,3}", name)
        taken = {"left", "right", "above", "below", "between", "and", "with", "the"}
        assert not taken & {*re.split("[ -]", name)}


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("tomato", "red"), ("lemon", "yellow"), ("pig", "pink"), ("elephant", "grey"), ("swan", "white"),
        ("spider", "black"), ("camel", "brown"), ("whale", "blue"), ("eggplant", "purple"),
        ("tangerine", "orange"), ("cucumber", "green"), ("parrot", "green"),
        ("rainbow", None), ("wine glass", None), ("canoe", None),
    ],
)  # fmt: skip
def test_measured_colours(studio: WorkerState, name: str, colour: str | None) -> None:
    assert studio.catalog.by_name[name].colour == colour


def test_colours_in_names_agree_with_the_pixels(studio: WorkerState) -> None:
    for kind in studio.catalog.objects:
        assert sum(kind.shares) <= 100
        if kind.colour_in_name and kind.category == OTHER:
            assert COLOURS[kind.shares.index(max(kind.shares))] == kind.colour, kind.name


def test_heldout_pairs_are_symmetric_and_about_as_many_as_asked(studio: WorkerState) -> None:
    catalog = studio.catalog
    seen = catalog.seen[::5]
    for a in seen:
        assert not catalog.is_heldout_pair(a, a)
        assert all(catalog.is_heldout_pair(a, b) == catalog.is_heldout_pair(b, a) for b in seen)
        assert not any(catalog.is_heldout_pair(a, b) for b in catalog.heldout)
    pairs = [catalog.is_heldout_pair(a, b) for a in catalog.seen for b in catalog.seen]
    assert 0.07 < sum(pairs) / len(pairs) < 0.09
    assert all(catalog.heldout_partners(a) for a in catalog.seen)
