from hypothesis import given, settings
from hypothesis import strategies as st

from tests.world.conftest import draw
from tests.world.oracle import View
from xfm.world.captions import captions
from xfm.world.grammar import (
    RELATION_PHRASES,
    Relation,
    excluded,
    holds,
    is_between,
    places_differ,
    relation_between,
)
from xfm.world.rng import Rng
from xfm.world.scene import GridCell, SceneSampler, Split
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


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 5), side=st.sampled_from((64, 96, 160, 224)))
def test_boxes_lie_inside_apart_and_where_they_say(
    studio: WorkerState, seed: int, count: int, side: int
) -> None:
    sampler = SceneSampler(studio.catalog, side)
    rng = Rng("boxes", seed)
    scene = sampler.place(rng, sampler.choose(rng, count, studio.catalog.seen))
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


def test_sizes_have_clear_gaps(studio: WorkerState) -> None:
    longest: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for seed in range(400):
        for item in draw(studio, seed, 1 + seed % 5).objects:
            longest[item.size].add(max(item.width, item.height))
    assert max(longest[0]) + 6 <= min(longest[1])
    assert max(longest[1]) + 6 <= min(longest[2])


@settings(max_examples=100, deadline=None)
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


def test_places_differ_is_symmetric_and_irreflexive() -> None:
    for p in GridCell:
        assert not places_differ(p, p)
        assert all(places_differ(p, q) == places_differ(q, p) for q in GridCell)
    assert not places_differ(GridCell.TOP, GridCell.TOP_LEFT)
    assert places_differ(GridCell.TOP, GridCell.BOTTOM_LEFT)
    assert len({w for words in RELATION_PHRASES.values() for w in words}) == 12


def test_scene_graphs_are_the_same_everywhere(studio: WorkerState) -> None:
    """Recorded draws and a recorded scene: a change here changes every world, and must be meant."""
    rng = Rng("recorded", 5)
    assert [rng.below(1000) for _ in range(6)] == [701, 272, 370, 955, 820, 561]
    scene = draw(studio, 7, 4)
    assert [(o.name, o.box, o.place.words) for o in scene.objects] == RECORDED_SCENE
    assert captions(Rng("words", 7), scene, 2) == RECORDED_CAPTIONS


def test_repeats_occur_two_or_three_times(studio: WorkerState) -> None:
    counts = [max(len(g) for g in draw(studio, seed, 4, repeat=100).groups.values()) for seed in range(60)]
    assert set(counts) == {2, 3}


def test_splits_hold_what_they_should(studio: WorkerState) -> None:
    catalog = studio.catalog
    for split in (Split.TRAIN, Split.COMBINATIONS, Split.OBJECTS):
        chooser, rng = studio.chooser(split), Rng("split", split)
        for _ in range(300):
            kinds = chooser.choose(rng, rng.pick((2, 3, 4)))
            pairs = [catalog.is_heldout_pair(a, b) for a in kinds for b in kinds]
            assert any(pairs) == (split is Split.COMBINATIONS)
            hidden = set(kinds) & set(catalog.heldout)
            assert hidden == (set(kinds) if split is Split.OBJECTS else set())
            assert not any(a is not b and catalog.confusable(a, b) for a in kinds for b in kinds)


def test_all_nine_places_are_common(studio: WorkerState) -> None:
    counts = [0] * 9
    for seed in range(600):
        for item in draw(studio, seed, 3).objects:
            counts[item.place] += 1
    assert min(counts) > sum(counts) / 9 * 0.6


def test_background_keeps_the_objects_visible(studio: WorkerState) -> None:
    for seed in range(300):
        scene = draw(studio, seed, 3)
        assert all(item.kind.crowded[scene.background.colour] <= 40 for item in scene.objects)
