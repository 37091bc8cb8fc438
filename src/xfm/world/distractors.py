"""Hard retrieval: a caption and captions of the same objects that are false of the scene."""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

from xfm.world import palette
from xfm.world.grammar import PLACE_PHRASES, SIZE_WORDS, counted, joined, with_article
from xfm.world.relations import RELATION_PHRASES, Relation, excluded, places_differ, relation_between
from xfm.world.rng import Rng
from xfm.world.scene import Place, Scene, SceneObject, Size
from xfm.world.twins import MOST_ALIKE, MOST_OBJECTS, Edit

COUNT = 3


class HardCaption(NamedTuple):
    """A true caption and COUNT false ones of the same form, and what tells them apart."""

    edit: Edit
    caption: str
    distractors: list[str]


def _relations(rng: Rng, scene: Scene) -> HardCaption | None:
    pair = rng.sample(scene.singles, 2)
    if len(pair) < 2:
        return None
    a, b = pair
    relation = relation_between(a, b, scene.image_size)
    if relation is None or not all(
        r is relation or excluded(a, r, b, scene.image_size) for r in Relation
    ):  # a diagonal pair: the other axis would be half true
        return None
    rest = [with_article(o.name) for o in scene.singles if o is not a and o is not b]
    tail = f", and {joined(rest)}" if rest else ""
    style = rng.below(3)

    def text(first: SceneObject, r: Relation, second: SceneObject) -> str:
        return f"{with_article(first.name)} {RELATION_PHRASES[r][style]} {with_article(second.name)}{tail}"

    false = [text(a, r, b) for r in Relation if r is not relation]
    false += [text(b, r, a) for r in Relation if r is not relation.inverse]
    return HardCaption(Edit.RELATION, text(a, relation, b), rng.sample(false, COUNT))


def _places(rng: Rng, scene: Scene) -> HardCaption | None:
    if len(scene.singles) < 2:
        return None
    items = rng.sample(scene.singles, 3)
    style = rng.below(3)

    def text(places: list[Place]) -> str:
        named = zip(items, places, strict=True)
        return joined([f"{with_article(o.name)} {PLACE_PHRASES[p][style]}" for o, p in named])

    true = [o.place for o in items]
    found: dict[str, None] = {}
    for _ in range(40):
        places = rng.shuffled(true) if rng.chance(60) else rng.sample(tuple(Place), len(items))
        # Every object that moved is clearly elsewhere, and one did.
        moved = [(p, q) for p, q in zip(true, places, strict=True) if p is not q]
        if moved and all(places_differ(p, q) for p, q in moved):
            found.setdefault(text(places))
        if len(found) == COUNT:
            return HardCaption(Edit.PLACE, text(true), list(found))
    return None


def _sizes(rng: Rng, scene: Scene) -> HardCaption | None:
    sized = [item for item in scene.singles if item.size is not Size.MEDIUM]
    if len(sized) < 2:
        return None
    items, style = rng.sample(sized, 2), rng.below(3)
    rest = [with_article(o.name) for o in scene.singles if o not in items]

    def text(sizes: tuple[Size, ...]) -> str:
        named = [
            with_article(f"{SIZE_WORDS[size][style]} {item.name}")
            for item, size in zip(items, sizes, strict=True)
        ]
        return joined([*named, *rest])

    true = tuple(item.size for item in items)
    false = [sizes for sizes in product((Size.SMALL, Size.LARGE), repeat=2) if sizes != true]
    return HardCaption(Edit.SIZE, text(true), [text(sizes) for sizes in rng.shuffled(false)])


def _counts(rng: Rng, scene: Scene) -> HardCaption | None:
    kinds = rng.shuffled(list(scene.groups))

    def text(counts: tuple[int, ...]) -> str:
        return joined([counted(count, kind.name) for kind, count in zip(kinds, counts, strict=True)])

    true = tuple(scene.count(kind) for kind in kinds)
    false = [
        counts
        for counts in product(range(1, MOST_ALIKE + 1), repeat=len(kinds))
        if counts != true and sum(counts) <= MOST_OBJECTS and sum(map(int.__ne__, counts, true)) == 1
    ]
    if len(false) < COUNT or max(true) == 1:
        return None
    return HardCaption(Edit.COUNT, text(true), [text(counts) for counts in rng.sample(false, COUNT)])


def _backgrounds(rng: Rng, scene: Scene) -> HardCaption | None:
    parts = joined([counted(len(group), kind.name) for kind, group in scene.groups.items()])

    def text(colour: str) -> str:
        return f"{parts} on {with_article(colour)} background"

    others = [name for name, _ in palette.BACKGROUNDS if name != scene.background.name]
    false = [text(colour) for colour in rng.sample(others, COUNT)]
    return HardCaption(Edit.BACKGROUND, text(scene.background.name), false)


_WAYS: dict[Edit, Callable[[Rng, Scene], HardCaption | None]] = {
    Edit.RELATION: _relations,
    Edit.PLACE: _places,
    Edit.SIZE: _sizes,
    Edit.COUNT: _counts,
    Edit.BACKGROUND: _backgrounds,
}
EDITS = tuple(_WAYS)
"""What distractors may differ in."""


def hard_caption(rng: Rng, scene: Scene, edit: Edit) -> HardCaption | None:
    """A caption with distractors that differ from it in `edit`, or None if the scene does not allow it."""
    found = _WAYS[edit](rng, scene)
    return found if found is not None and len({found.caption, *found.distractors}) == COUNT + 1 else None
