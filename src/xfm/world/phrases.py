"""Phrases that refer to one object of a scene and to no other."""

from collections.abc import Callable, Sequence

from xfm.world import grammar
from xfm.world.palette import COLOURS
from xfm.world.rng import Rng
from xfm.world.scene import Scene, SceneObject

_EXTREMES = (
    (("leftmost",), lambda o: o.x2),
    (("rightmost",), lambda o: -o.x2),
    (("topmost", "highest"), lambda o: o.y2),
    (("lowest",), lambda o: -o.y2),
)
GENERIC = ("object", "thing")
CLEAR_SHARE, ABSENT_SHARE = 58, 12  # percent of pixels: the colour names the object; rivals have at most this


Determiner = Callable[[str], str]
"""Puts "the", "a" or nothing before a noun."""


the: Determiner = "the {}".format
# A phrase has one determiner throughout. Captions say "a": what is learned from phrases is to hold for them.
# People who are short of time say none.
DETERMINERS: tuple[Determiner, ...] = (the, grammar.with_article, str)


def _others(scene: Scene, item: SceneObject, noun: str) -> list[SceneObject]:
    return [o for o in scene.objects if o is not item and (noun in GENERIC or o.kind is item.kind)]


def by_name(rng: Rng, scene: Scene, item: SceneObject, noun: str, said: Determiner) -> str | None:
    """The name alone, if it is unique."""
    if noun in GENERIC or _others(scene, item, noun):
        return None
    colour = item.kind.colour
    if colour and not item.kind.colour_in_name and rng.chance(15):
        return said(f"{colour} {noun}")
    return said(noun)


def by_size(rng: Rng, scene: Scene, item: SceneObject, noun: str, said: Determiner) -> str | None:
    """The size, if no other object of that name has it; medium objects have no size word."""
    rivals = _others(scene, item, noun)
    if item.size == 1 or any(o.size == item.size for o in rivals):
        return None
    return said(f"{rng.pick(grammar.SIZE_WORDS[item.size])} {noun}")


def by_place(rng: Rng, scene: Scene, item: SceneObject, noun: str, said: Determiner) -> str | None:
    """The absolute place, if no other object of that name is there or in a place whose words contain it."""
    words = set(item.place.words.split())
    if any(words <= set(o.place.words.split()) for o in _others(scene, item, noun)):
        return None
    return f"{said(noun)} {rng.pick(grammar.PLACE_PHRASES[item.place])}"


def by_extreme(rng: Rng, scene: Scene, item: SceneObject, noun: str, said: Determiner) -> str | None:
    """ "the leftmost cat", if it is so by a clear margin."""
    rivals = _others(scene, item, noun)
    if not rivals:
        return None
    margin = scene.image_size // 5
    found = [
        w for words, key in _EXTREMES for w in words if all(key(item) + margin <= key(o) for o in rivals)
    ]
    return the(f"{rng.pick(found)} {noun}") if found else None


def by_relation(rng: Rng, scene: Scene, item: SceneObject, noun: str, said: Determiner) -> str | None:
    """The relation to an object with a unique name, if it clearly excludes all rivals."""
    rivals, side = _others(scene, item, noun), scene.image_size
    found = [
        (relation, anchor)
        for anchor in scene.singles
        if anchor is not item
        for relation in grammar.Relation
        if grammar.holds(item, relation, anchor, side)
        and all(o is anchor or grammar.excluded(o, relation, anchor, side) for o in rivals)
    ]
    if not found:
        return None
    relation, anchor = rng.pick(found)
    return f"{said(noun)} {rng.pick(grammar.RELATION_PHRASES[relation])} {said(anchor.name)}"


def by_between(rng: Rng, scene: Scene, item: SceneObject, noun: str, said: Determiner) -> str | None:
    """ "the cat between the tree and the car"."""
    anchors = [o for o in scene.singles if o is not item]
    found = [
        (b, c)
        for i, b in enumerate(anchors)
        for c in anchors[i + 1 :]
        if grammar.is_between(item, b, c, scene.image_size)
        and not any(
            grammar.is_between(o, b, c, scene.image_size)
            for o in _others(scene, item, noun)
            if o not in (b, c)
        )
    ]
    if not found:
        return None
    b, c = rng.shuffled(rng.pick(found))
    return f"{said(noun)} between {said(b.name)} and {said(c.name)}"


def by_colour(rng: Rng, scene: Scene, item: SceneObject, noun: str, said: Determiner) -> str | None:
    """ "the red object", if nothing else shows much of that colour."""
    colour = item.kind.colour
    if colour is None or noun not in GENERIC or scene.background.name == colour:
        return None
    index = COLOURS.index(colour)
    if item.kind.shares[index] < CLEAR_SHARE:
        return None
    if any(o is not item and o.kind.shares[index] > ABSENT_SHARE for o in scene.objects):
        return None
    return said(f"{colour} {noun}")


Referrer = Callable[[Rng, Scene, SceneObject, str, Determiner], str | None]
# Way of referring and its weight where the name is unique.
_UNIQUE: tuple[tuple[Referrer, int], ...] = ((by_name, 52), (by_place, 20), (by_relation, 21), (by_size, 7))
_AMBIGUOUS: tuple[tuple[Referrer, int], ...] = (
    (by_relation, 40), (by_place, 28), (by_size, 14), (by_extreme, 14), (by_between, 8)
)  # fmt: skip
_GENERIC: tuple[tuple[Referrer, int], ...] = (
    (by_relation, 30), (by_place, 20), (by_colour, 30), (by_size, 10), (by_extreme, 10)
)  # fmt: skip
RELATIONAL: tuple[tuple[Referrer, int], ...] = ((by_relation, 70), (by_between, 15), (by_extreme, 15))


def refer(
    rng: Rng,
    scene: Scene,
    item: SceneObject,
    ways: Sequence[tuple[Referrer, int]] | None = None,
    generic: int = 6,
    determiners: Sequence[Determiner] = DETERMINERS,
) -> str | None:
    """A phrase for `item` that fits no other object of the scene, or None if a few tries found none. `ways`
    are weighted ways of referring; `generic` is the percentage of phrases that say "object"."""
    for _ in range(6):
        noun = rng.pick(GENERIC) if rng.chance(generic) else item.name
        options = ways or (
            _GENERIC if noun in GENERIC else _UNIQUE if scene.count(item.kind) == 1 else _AMBIGUOUS
        )
        phrase = rng.weighted(options)(rng, scene, item, noun, rng.pick(determiners))
        if phrase is not None:
            return phrase
    return None


def regions(rng: Rng, scene: Scene) -> list[tuple[str, SceneObject]]:
    """A phrase for each object that has one, in random order."""
    found = ((refer(rng, scene, item), item) for item in rng.shuffled(scene.objects))
    return [(phrase, item) for phrase, item in found if phrase is not None]
