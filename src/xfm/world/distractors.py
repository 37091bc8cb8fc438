"""Hard retrieval: a caption and captions of the same objects that are false of the scene."""

from typing import NamedTuple

from xfm.world.grammar import PLACE_PHRASES, joined, with_article
from xfm.world.relations import RELATION_PHRASES, Relation, excluded, places_differ, relation_between
from xfm.world.rng import Rng
from xfm.world.scene import Place, Scene, SceneObject

COUNT = 3


class HardCaption(NamedTuple):
    """A true caption and COUNT false ones of the same form."""

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
    return HardCaption(text(a, relation, b), rng.sample(false, COUNT))


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
            return HardCaption(text(true), list(found))
    return None


def hard_caption(rng: Rng, scene: Scene) -> HardCaption | None:
    """A caption with distractors about relations or places, or None if the scene does not allow either."""
    for _ in range(6):
        found = (_relations if rng.chance(50) else _places)(rng, scene)
        if found is not None and len(set(found.distractors)) == COUNT:
            return found
    return None
