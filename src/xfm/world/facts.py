"""Descriptions as lists of facts, their wordings, and minimal changes to them: for pairs of texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from xfm.world.catalog import Catalog, ObjectType
from xfm.world.grammar import (
    NUMBERS,
    PLACE_PHRASES,
    RELATION_PHRASES,
    SIDE_PHRASES,
    SIZE_WORDS,
    Relation,
    counted,
    excluded,
    joined,
    on_background,
    opened,
    places_differ,
    plural,
    relation_between,
    with_article,
)
from xfm.world.rng import Rng
from xfm.world.scene import GridCell, Scene, Size


@dataclass(frozen=True)
class Item:
    """One kind of object, its number, size and place."""

    kind: ObjectType
    count: int = 1
    size: Size | None = None
    place: GridCell | None = None


class Link(NamedTuple):
    """Item `first` is in `relation` to item `second` (indices)."""

    first: int
    relation: Relation
    second: int


@dataclass(frozen=True)
class Description:
    """What a sentence says. The order of the items carries no meaning."""

    items: tuple[Item, ...]
    link: Link | None = None
    background: str | None = None


USUALLY_RELATED = 45  # percent of descriptions


def describe(rng: Rng, scene: Scene, places: int = 2, related: int = USUALLY_RELATED) -> Description:
    """A selection of the scene's facts, none of which follows from another.

    `places` is the most objects whose place is told, `related` the percentage of descriptions with a
    relation.
    """
    groups = rng.shuffled(list(scene.groups.values()))
    members = [g[0] for g in groups]
    link = None
    single = [i for i, g in enumerate(groups) if len(g) == 1]
    if len(single) >= 2 and rng.chance(related):
        first, second = rng.sample(single, 2)
        relation = relation_between(members[first], members[second], scene.image_size)
        link = Link(first, relation, second) if relation is not None else None
    linked = set() if link is None else {link.first, link.second}
    items = []
    placed = 0
    for i, group in enumerate(groups):
        alone = len(group) == 1
        sized = alone and group[0].size is not Size.MEDIUM and rng.chance(30)
        here = alone and i not in linked and placed < places and rng.chance(75)
        placed += here
        items.append(
            Item(
                group[0].kind, len(group), group[0].size if sized else None, group[0].place if here else None
            )
        )
    return Description(tuple(items), link)


def without_item(description: Description, index: int) -> Description | None:
    """The description without an item; None if it is the only one or stands in the relation that is told."""
    items, link = description.items, description.link
    if len(items) == 1 or (link is not None and index in (link.first, link.second)):
        return None
    if link is not None:
        link = Link(link.first - (link.first > index), link.relation, link.second - (link.second > index))
    return replace(description, items=(*items[:index], *items[index + 1 :]), link=link)


# ---------------------------------------------------------------- wording
def _noun(rng: Rng, item: Item) -> str:
    size = "" if item.size is None else rng.pick(SIZE_WORDS[item.size]) + " "
    return counted(item.count, size + item.kind.name)


def _item(rng: Rng, item: Item) -> str:
    place = "" if item.place is None else " " + rng.pick(PLACE_PHRASES[item.place])
    return _noun(rng, item) + place


def wording(rng: Rng, description: Description) -> str:
    """One of many sentences that say exactly what the description says."""
    text = _objects(rng, description)
    if description.background is None:
        return text
    return on_background(rng, text, description.background)


def _objects(rng: Rng, description: Description) -> str:
    items, link = description.items, description.link
    others = [item for i, item in enumerate(items) if link is None or i not in (link.first, link.second)]
    # Objects without a place come last: "a cat and a tree at the top" would place the cat too.
    others = sorted(rng.shuffled(others), key=lambda item: item.place is None)
    rest = [_item(rng, item) for item in others]
    if link is None:
        opener = rng.pick(("", "", "there is ", "we see ", "the picture shows "))
        return opened("" if description.background else opener, joined(rest))
    first, relation, second = link
    if rng.chance(50):
        first, relation, second = second, relation.inverse, first
    a, b = _noun(rng, items[first]), _noun(rng, items[second])
    if rng.chance(70):
        text = f"{a} {rng.pick(RELATION_PHRASES[relation])} {b}"
    else:
        text = f"{b} with {a} {SIDE_PHRASES[relation]}"
    return f"{text}, {rng.pick(('and', 'with', 'also'))} {joined(rest)}" if rest else text


def contradicts(description: Description, scene: Scene) -> bool:
    """Whether something that the description says is clearly false of the scene."""
    if description.background not in (None, scene.background.name):
        return True
    for item in description.items:
        group = scene.groups.get(item.kind, [])
        if len(group) != item.count or (item.size is not None and item.size is not group[0].size):
            return True
        if item.place is not None and places_differ(item.place, group[0].place):
            return True
    if description.link is None:
        return False
    first, relation, second = description.link
    a, b = (scene.groups[description.items[i].kind][0] for i in (first, second))
    return excluded(a, relation, b, scene.image_size)


# ---------------------------------------------------------------- single facts
class Change(NamedTuple):
    """A description, a copy that differs in one fact, and the wording of that fact in each."""

    before: Description
    after: Description
    state: Callable[[Rng, Description], str]


def _swapped(told: Description, index: int, **fact: Any) -> Description:
    changed = replace(told.items[index], **fact)
    return replace(told, items=(*told.items[:index], changed, *told.items[index + 1 :]))


def _change_object(
    rng: Rng, told: Description, catalog: Catalog, pool: Sequence[ObjectType]
) -> Change | None:
    index = rng.below(len(told.items))
    for _ in range(20):
        kind = rng.pick(pool)
        if all(catalog.compatible(kind, item.kind) for item in told.items):
            break
    else:
        return None
    forms = ("there is {}", "the picture shows {}", "{} can be seen", "we see {}", "one of the objects is {}")
    form = rng.pick(forms)

    def state(rng: Rng, d: Description) -> str:
        return form.format(with_article(d.items[index].kind.name))

    return Change(told, _swapped(told, index, kind=kind), state)


def _change_place(rng: Rng, told: Description, catalog: Catalog, pool: Sequence[ObjectType]) -> Change | None:
    placed = [i for i, item in enumerate(told.items) if item.place is not None]
    if not placed:
        return None
    index = rng.pick(placed)
    place, taken = told.items[index].place, {other.place for other in told.items}
    free = [p for p in GridCell if p not in taken and place is not None and places_differ(p, place)]
    after = _swapped(told, index, place=rng.pick(free))
    form = rng.pick(("the {} is {}", "there is a {} {}", "the {} can be seen {}"))

    def state(rng: Rng, d: Description) -> str:
        focus = d.items[index]
        assert focus.place is not None
        text = form.format(focus.kind.name, rng.pick(PLACE_PHRASES[focus.place]))
        return text.replace("there is a " + focus.kind.name, "there is " + with_article(focus.kind.name))

    return Change(told, after, state)


def _change_relation(
    rng: Rng, told: Description, catalog: Catalog, pool: Sequence[ObjectType]
) -> Change | None:
    """The two related objects trade places, or stand in a relation along the other axis."""
    if (link := told.link) is None:
        return None
    others = [r for r in Relation if r is not link.relation]
    relation = rng.pick(others) if rng.chance(40) else link.relation.inverse
    turned = rng.chance(50)

    def state(rng: Rng, d: Description) -> str:
        assert d.link is not None
        first, relation, second = d.link
        if turned:
            first, relation, second = second, relation.inverse, first
        a, b = d.items[first].kind.name, d.items[second].kind.name
        return f"the {a} is {rng.pick(RELATION_PHRASES[relation])} the {b}"

    return Change(told, replace(told, link=Link(link.first, relation, link.second)), state)


def _change_count(rng: Rng, told: Description, catalog: Catalog, pool: Sequence[ObjectType]) -> Change | None:
    linked = () if told.link is None else (told.link.first, told.link.second)
    plain = [
        i for i, item in enumerate(told.items) if item.place is None and item.size is None and i not in linked
    ]
    if not plain:
        return None
    index = rng.pick(plain)
    count = rng.pick([n for n in (1, 2, 3) if n != told.items[index].count])
    form = rng.pick(("there {be} {n}", "the picture shows {n}", "we see {n}"))

    def state(rng: Rng, d: Description) -> str:
        name, one = d.items[index].kind.name, d.items[index].count == 1
        number = f"only one {name}" if one else f"{NUMBERS[d.items[index].count]} {plural(name)}"
        return form.format(be="is" if one else "are", n=number)

    return Change(told, _swapped(told, index, count=count), state)


def _change_size(rng: Rng, told: Description, catalog: Catalog, pool: Sequence[ObjectType]) -> Change | None:
    sized = [(i, item.size) for i, item in enumerate(told.items) if item.size is not None]
    if not sized:
        return None
    index, size = rng.pick(sized)
    form = rng.pick(("the {name} is {size}", "there is {a}", "{a} can be seen"))

    def state(rng: Rng, d: Description) -> str:
        focus = d.items[index]
        assert focus.size is not None
        size = rng.pick(SIZE_WORDS[focus.size])
        return form.format(name=focus.kind.name, size=size, a=with_article(f"{size} {focus.kind.name}"))

    return Change(told, _swapped(told, index, size=Size(2 - size)), state)


_CHANGES = (
    (_change_object, 25), (_change_place, 30), (_change_relation, 28), (_change_count, 10), (_change_size, 12)
)  # fmt: skip


def change(rng: Rng, told: Description, catalog: Catalog, pool: Sequence[ObjectType]) -> Change:
    """A change of some fact; of an object if nothing else is said."""
    while True:
        found = rng.weighted(_CHANGES)(rng, told, catalog, pool)
        if found is not None:
            return found
