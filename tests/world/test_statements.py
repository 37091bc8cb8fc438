import re
from collections import Counter

import pytest

from tests.world.oracle import NUMBERS, PLACE, RELATION, Grammar, View, direction, place_cell
from xfm.world.palette import COLOURS
from xfm.world.rng import Rng
from xfm.world.scene import Split
from xfm.world.statements import PairMaker, statements
from xfm.world.units import WorkerState

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
    maker, forms = PairMaker(studio.sampler, studio.chooser(split)), Counter[str]()
    for seed in range(500):
        rows = statements(Rng("statements", seed), maker)
        balance = Counter[str]()
        for row in rows:
            assert truth(grammar, View(row.left), View(row.right), row.text) == row.label, row.text
            balance[row.text] += 1 if row.label else -1
            scenes = row.left.groups, row.right.groups
            pairs = [studio.catalog.is_heldout_pair(a, b) for kinds in scenes for a in kinds for b in kinds]
            assert any(pairs) == (split is Split.COMBINATIONS)
        assert not any(balance.values()), rows
        forms[re.sub(grammar.name, "X", rows[0].text)] += 1
    assert len(forms) > 25
