"""Descriptions as lists of facts, their wordings, and minimal changes to them: for pairs of texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from xfm.world import grammar
from xfm.world.catalog import Catalog, ObjectType
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
    relation: grammar.Relation
    second: int

    def turned(self) -> "Link":
        """The same, told of the other item."""
        return Link(self.second, self.relation.inverse, self.first)


@dataclass(frozen=True)
class Description:
    """What a sentence says. The order of the items carries no meaning."""

    items: tuple[Item, ...]
    link: Link | None = None
    background: str | None = None

    @property
    def linked(self) -> tuple[int, ...]:
        """The items that stand in the relation, if any."""
        return () if self.link is None else (self.link.first, self.link.second)


USUALLY_RELATED = 45  # percent of descriptions


def describe(rng: Rng, scene: Scene, places: int = 2, related: int = USUALLY_RELATED) -> Description:
    """A selection of the scene's facts, none of which follows from another. `places` is the most objects
    whose place is told, `related` the percentage of descriptions with a relation."""
    groups = rng.shuffled(list(scene.groups.values()))
    members = [g[0] for g in groups]
    link = None
    single = [i for i, g in enumerate(groups) if len(g) == 1]
    if len(single) >= 2 and rng.chance(related):
        first, second = rng.sample(single, 2)
        relation = grammar.relation_between(members[first], members[second], scene.image_size)
        link = Link(first, relation, second) if relation is not None else None
    linked = () if link is None else (link.first, link.second)
    items, placed = [], 0
    for i, group in enumerate(groups):
        alone = len(group) == 1
        sized = alone and group[0].size is not Size.MEDIUM and rng.chance(30)
        here = alone and i not in linked and placed < places and rng.chance(75)
        placed += here
        first = group[0]
        items.append(
            Item(first.kind, len(group), first.size if sized else None, first.place if here else None)
        )
    return Description(tuple(items), link)


def without_item(description: Description, index: int) -> Description | None:
    """The description without an item; None if it is the only one or stands in the relation that is told."""
    items, link = description.items, description.link
    if len(items) == 1 or index in description.linked:
        return None
    if link is not None:
        link = Link(link.first - (link.first > index), link.relation, link.second - (link.second > index))
    return replace(description, items=(*items[:index], *items[index + 1 :]), link=link)


# ---------------------------------------------------------------- wording
def _noun(rng: Rng, item: Item) -> str:
    size = "" if item.size is None else rng.pick(grammar.SIZE_WORDS[item.size]) + " "
    return grammar.counted(item.count, size + item.kind.name)


def _item(rng: Rng, item: Item) -> str:
    place = "" if item.place is None else " " + rng.pick(grammar.PLACE_PHRASES[item.place])
    return _noun(rng, item) + place


def wording(rng: Rng, description: Description) -> str:
    """One of many sentences that say exactly what the description says."""
    items, link, background = description.items, description.link, description.background
    others = rng.shuffled([item for i, item in enumerate(items) if i not in description.linked])
    # Objects without a place come last: "a cat and a tree at the top" would place the cat too.
    rest = [_item(rng, item) for item in sorted(others, key=lambda item: item.place is None)]
    if link is None:
        opener = rng.pick(("", "", "there is ", "we see ", "the picture shows "))
        text = grammar.opened("" if background else opener, grammar.joined(rest))
    else:
        first, relation, second = link.turned() if rng.chance(50) else link
        a, b = _noun(rng, items[first]), _noun(rng, items[second])
        text = grammar.in_relation(rng, a, relation, b, aside=not rng.chance(70))
        text += f", {rng.pick(('and', 'with', 'also'))} {grammar.joined(rest)}" if rest else ""
    return text if background is None else grammar.on_background(rng, text, background)


def contradicts(description: Description, scene: Scene) -> bool:
    """Whether something that the description says is clearly false of the scene."""
    if description.background not in (None, scene.background.name):
        return True
    for item in description.items:
        group = scene.groups.get(item.kind, [])
        if len(group) != item.count or (item.size is not None and item.size is not group[0].size):
            return True
        if item.place is not None and grammar.places_differ(item.place, group[0].place):
            return True
    if description.link is None:
        return False
    a, b = (scene.groups[description.items[i].kind][0] for i in description.linked)
    return grammar.excluded(a, description.link.relation, b, scene.image_size)


# ---------------------------------------------------------------- single facts
Change = tuple[Description, Callable[[Rng, Description], str]]
"""A copy of a description that differs in one fact, and the wording of that fact in either."""


def _changed(told: Description, index: int, say: Callable[[Rng, Item], str], **fact: Any) -> Change:
    changed = replace(told.items[index], **fact)
    after = replace(told, items=(*told.items[:index], changed, *told.items[index + 1 :]))
    return after, lambda rng, said: say(rng, said.items[index])


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
    return _changed(
        told, index, lambda rng, item: form.format(grammar.with_article(item.kind.name)), kind=kind
    )


def _change_place(rng: Rng, told: Description, catalog: Catalog, pool: Sequence[ObjectType]) -> Change | None:
    placed = [(i, item.place) for i, item in enumerate(told.items) if item.place is not None]
    if not placed:
        return None
    index, place = rng.pick(placed)
    taken = {other.place for other in told.items}
    new = rng.pick([p for p in GridCell if p not in taken and grammar.places_differ(p, place)])
    form = rng.pick(("the {0} is {2}", "there is {1} {2}", "the {0} can be seen {2}"))

    def say(rng: Rng, item: Item) -> str:
        assert item.place is not None
        return form.format(
            item.kind.name, grammar.with_article(item.kind.name), rng.pick(grammar.PLACE_PHRASES[item.place])
        )

    return _changed(told, index, say, place=new)


def _change_relation(
    rng: Rng, told: Description, catalog: Catalog, pool: Sequence[ObjectType]
) -> Change | None:
    """The two related objects trade places, or stand in a relation along the other axis."""
    if (link := told.link) is None:
        return None
    others = [r for r in grammar.Relation if r is not link.relation]
    relation = rng.pick(others) if rng.chance(40) else link.relation.inverse
    turned = rng.chance(50)

    def state(rng: Rng, said: Description) -> str:
        assert said.link is not None
        first, relation, second = said.link.turned() if turned else said.link
        a, b = said.items[first].kind.name, said.items[second].kind.name
        return f"the {a} is {rng.pick(grammar.RELATION_PHRASES[relation])} the {b}"

    return replace(told, link=link._replace(relation=relation)), state


def _change_count(rng: Rng, told: Description, catalog: Catalog, pool: Sequence[ObjectType]) -> Change | None:
    plain = [
        i for i, item in enumerate(told.items)
        if item.place is None and item.size is None and i not in told.linked
    ]  # fmt: skip
    if not plain:
        return None
    index = rng.pick(plain)
    count = rng.pick([n for n in (1, 2, 3) if n != told.items[index].count])
    form = rng.pick(("there {be} {n}", "the picture shows {n}", "we see {n}"))

    def say(rng: Rng, item: Item) -> str:
        name, one = item.kind.name, item.count == 1
        number = f"only one {name}" if one else f"{grammar.NUMBERS[item.count]} {grammar.plural(name)}"
        return form.format(be="is" if one else "are", n=number)

    return _changed(told, index, say, count=count)


def _change_size(rng: Rng, told: Description, catalog: Catalog, pool: Sequence[ObjectType]) -> Change | None:
    sized = [(i, item.size) for i, item in enumerate(told.items) if item.size is not None]
    if not sized:
        return None
    index, size = rng.pick(sized)
    form = rng.pick(("the {name} is {size}", "there is {a}", "{a} can be seen"))

    def say(rng: Rng, item: Item) -> str:
        assert item.size is not None
        size = rng.pick(grammar.SIZE_WORDS[item.size])
        return form.format(name=item.kind.name, size=size, a=grammar.with_article(f"{size} {item.kind.name}"))

    return _changed(told, index, say, size=Size(2 - size))


_CHANGES = (
    (_change_object, 25), (_change_place, 30), (_change_relation, 28), (_change_count, 10), (_change_size, 12)
)  # fmt: skip


def change(rng: Rng, told: Description, catalog: Catalog, pool: Sequence[ObjectType]) -> Change:
    """A change of some fact; of an object if nothing else is said."""
    while True:
        found = rng.weighted(_CHANGES)(rng, told, catalog, pool)
        if found is not None:
            return found
