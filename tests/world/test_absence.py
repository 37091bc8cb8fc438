"""Phrases that are there or not, read by the oracle."""

import re
from collections import Counter

import pytest

from tests.world.oracle import RELATION, Grammar, View, direction
from xfm.world.rng import Rng
from xfm.world.scene import Split
from xfm.world.statements import PairMaker, absent_objects, absent_relations
from xfm.world.task_units import MAKERS
from xfm.world.units import Part, Unit, WorkerState


def truth(grammar: Grammar, view: View, phrase: str) -> bool:
    if found := re.match(rf"^the ({grammar.name}) ({RELATION}) the ({grammar.name})$", phrase):
        a, b, relation = view.only(found[1]), view.only(found[3]), direction(found[2])
        assert view.clearly(a, relation, b) or view.never(a, relation, b), phrase
        return view.clearly(a, relation, b)
    found = re.match(rf"^(?:an?|the) ({grammar.name})$", phrase)
    assert found is not None, phrase
    words = set(found[1].split())
    clashes = [name for name in view.boxes if words <= set(name.split()) or set(name.split()) <= words]
    assert clashes in ([], [found[1]]), phrase
    return view.count(found[1]) == 1


@pytest.mark.parametrize("design", [absent_objects, absent_relations])
def test_each_phrase_is_true_of_its_scene_alone(studio: WorkerState, grammar: Grammar, design) -> None:
    maker = PairMaker(studio.sampler, studio.chooser(Split.TEST))
    for seed in range(60):
        told = design(Rng("absence", seed), maker)
        views = [View(scene) for scene in told.scenes]
        found = [[truth(grammar, view, phrase) for phrase in told.phrases] for view in views]
        assert found == [[True, False], [False, True]]
        if design is absent_relations:  # what is shown tells nothing, and no twins of the training show it
            assert views[0].boxes.keys() == views[1].boxes.keys()
            assert studio.catalog.reserved(list(told.scenes[0].groups))


def test_phrases_tell_nothing_without_their_picture(studio: WorkerState) -> None:
    made = MAKERS[Part.ABSENCE](studio, Unit(Part.ABSENCE, Split.TEST, 0, 42))
    assert len(made.rows) == 42
    assert {row["image"] for row in made.rows} == {f"../images/{name}" for name, _ in made.pictures}
    whole = made.rows[:40]
    for field in ("phrase", "image"):
        there = Counter(row[field] for row in whole if row["present"])
        assert there == Counter(row[field] for row in whole if not row["present"])
    assert Counter(row["kind"] for row in whole) == {"object": 20, "relation": 20}
