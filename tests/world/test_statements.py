import re
from collections import Counter

import pytest

from tests.world.oracle import NUMBERS, PLACE, RELATION, Grammar, View, direction, place_cell
from xfm.world.palette import COLOURS
from xfm.world.rng import Rng
from xfm.world.scene import Split
from xfm.world.statements import absent_objects, absent_relations, statements
from xfm.world.units import MAKERS, Part, Unit, WorkerState

ONE = "the (left|right) picture"


def truth(grammar: Grammar, left: View, right: View, text: str) -> bool:
    n, views = grammar.name, {"left": left, "right": right}
    number = "|".join(k for k in NUMBERS if k not in ("a", "an", "only one"))
    others = {"left": right, "right": left}
    if found := re.match(rf"^(only )?{ONE} shows an? ({n})$", text):
        return views[found[2]].count(found[3]) > 0 and not (found[1] and others[found[2]].count(found[3]))
    if found := re.match(rf"^there is an? ({n}) in {ONE}$", text):
        return views[found[2]].count(found[1]) > 0
    if found := re.match(rf"^an? ({n}) is in {ONE} but not in the (left|right) one$", text):
        return views[found[2]].count(found[1]) > 0 and views[found[3]].count(found[1]) == 0
    if found := re.match(rf"^{ONE} has more ({n}) than the (left|right) one$", text):
        name = grammar.forms[found[2]]
        return views[found[1]].count(name) > views[found[3]].count(name)
    if found := re.match(rf"^there are fewer ({n}) in {ONE} than in the (left|right) one$", text):
        name = grammar.forms[found[1]]
        return views[found[2]].count(name) < views[found[3]].count(name)
    if found := re.match(rf"^the ({n}) in {ONE} is ({PLACE})$", text):
        view = views[found[2]]
        return view.cell(view.only(found[1])) == place_cell(found[3])
    if found := re.match(rf"^in {ONE} the ({n}) is ({PLACE})$", text):
        view = views[found[1]]
        return view.cell(view.only(found[2])) == place_cell(found[3])
    if found := re.match(rf"^in {ONE} the ({n}) is ({RELATION}) the ({n})$", text):
        view, relation = views[found[1]], direction(found[3])
        a, b = view.only(found[2]), view.only(found[4])
        assert view.clearly(a, relation, b) or view.never(a, relation, b)
        return view.clearly(a, relation, b)
    colours = "|".join(COLOURS)
    if found := re.match(rf"^the background of {ONE} is ({colours})$", text):
        return views[found[1]].background == found[2]
    if found := re.match(rf"^{ONE} has an? ({colours}) background$", text):
        return views[found[1]].background == found[2]
    if found := re.match(rf"^there (?:is|are) ({number}) objects? in {ONE}$", text):
        return views[found[2]].total == NUMBERS[found[1]]
    if found := re.match(rf"^(?:both pictures show an? ({n})|there is an? ({n}) in both pictures)$", text):
        return all(v.count(found[1] or found[2]) for v in views.values())
    if found := re.match(rf"^(?:only|just) one (?:of the pictures|picture) shows an? ({n})$", text):
        return sum(v.count(found[1]) > 0 for v in views.values()) == 1
    if found := re.match(rf"^(neither|at least one) picture shows an? ({n})$", text):
        return any(v.count(found[2]) for v in views.values()) == (found[1] != "neither")
    if text in ("both pictures show the same number of objects", "the pictures have equally many objects"):
        return left.total == right.total
    if found := re.match(rf"^there are ({number}) ({n}) in the two pictures together$", text):
        return sum(v.count(grammar.forms[found[2]]) for v in views.values()) == NUMBERS[found[1]]
    raise AssertionError(text)


@pytest.mark.parametrize("split", [Split.TRAIN, Split.COMBINATIONS])
def test_labels_agree_with_the_oracle_and_are_balanced(
    studio: WorkerState, grammar: Grammar, split: Split
) -> None:
    sampler, forms = studio.sampler(split), Counter[str]()
    for seed in range(200):
        rows = statements(Rng("statements", seed), sampler)
        balance = Counter[str]()
        for row in rows:
            assert truth(grammar, View(row.left), View(row.right), row.text) == row.label, row.text
            balance[row.text] += 1 if row.label else -1
            scenes = row.left.groups, row.right.groups
            pairs = [studio.catalog.is_heldout_pair(a, b) for kinds in scenes for a in kinds for b in kinds]
            assert any(pairs) == (split is Split.COMBINATIONS)
        assert not any(balance.values()), rows
        forms[re.sub(grammar.name, "X", rows[0].text)] += 1
    assert len(forms) > 20


# ------------------------------------------------------------------ absence
def phrase_is_true(grammar: Grammar, view: View, phrase: str) -> bool:
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
    sampler = studio.sampler(Split.TEST)
    for seed in range(40):
        scenes, phrases, _ = design(Rng("absence", seed), sampler)
        views = [View(scene) for scene in scenes]
        found = [[phrase_is_true(grammar, view, phrase) for phrase in phrases] for view in views]
        assert found == [[True, False], [False, True]]
        if design is absent_relations:  # what is shown tells nothing, and no twins of the training show it
            assert views[0].boxes.keys() == views[1].boxes.keys()
            assert studio.catalog.reserved(list(scenes[0].groups))


def test_phrases_tell_nothing_without_their_picture(studio: WorkerState) -> None:
    made = MAKERS[Part.ABSENCE](studio, Unit(Part.ABSENCE, Split.TEST, 0, 42))
    assert len(made.rows) == 42
    assert {row["image"] for row in made.rows} == {f"../images/{name}" for name, _ in made.pictures}
    whole = made.rows[:40]
    for field in ("phrase", "image"):
        there = Counter(row[field] for row in whole if row["present"])
        assert there == Counter(row[field] for row in whole if not row["present"])
    assert Counter(row["kind"] for row in whole) == {"object": 20, "relation": 20}
