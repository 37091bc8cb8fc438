"""Twin scenes: two scenes that differ by one edit, each told so that it is false of the other. Independent
scenes almost never show the same objects, so that names alone tell a picture from the others of its batch; of
twins, only the edit does."""

import re
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum

from xfm.world.facts import USUALLY_RELATED, Description, contradicts, describe, without_item, wording
from xfm.world.grammar import excluded, places_differ, relation_between
from xfm.world.rng import Rng
from xfm.world.scene import GridCell, Scene, SceneSampler, Size

MOST_ALIKE, MOST_OBJECTS = 3, 5
_TRIES = 40  # descriptions of which one must tell the twins apart


class Edit(StrEnum):
    """The difference of two scenes; a relation changes when two objects trade places or one moves."""

    RELATION = "relation"
    PLACE = "place"
    SIZE = "size"
    COUNT = "count"
    BACKGROUND = "background"
    OBJECT = "object"


Made = tuple[Scene, Scene | None] | None
"""A scene and its twin; None where there is none."""


def _relate(rng: Rng, scene: Scene, sampler: SceneSampler) -> Made:
    pair, side = rng.sample(scene.singles, 2), scene.image_size
    if len(pair) < 2 or (relation := relation_between(pair[0], pair[1], side)) is None:
        return None
    a, b = pair
    if not rng.chance(TURNED):
        new = [(a.kind, a.size, b.place), (b.kind, b.size, a.place)]
        return scene, sampler.edited(rng, scene, pair, new)
    for place in rng.shuffled(_free(scene)):  # where the old relation is clearly false, and another one clear
        other = sampler.edited(rng, scene, [b], [b.wanted(place=place)])
        if other is not None:
            moved = other.groups[b.kind][0]
            if relation_between(a, moved, side) is not None and excluded(a, relation, moved, side):
                return scene, other
    return None


def _move(rng: Rng, scene: Scene, sampler: SceneSampler) -> Made:
    item = rng.pick(scene.singles)
    free = [place for place in _free(scene) if places_differ(place, item.place)]
    if not free:
        return None
    return scene, sampler.edited(rng, scene, [item], [item.wanted(place=rng.pick(free))])


def _resize(rng: Rng, scene: Scene, sampler: SceneSampler) -> Made:
    item, edited = rng.pick(scene.singles), sampler.edited
    sizes = rng.shuffled((Size.SMALL, Size.LARGE))
    first = edited(rng, scene, [item], [item.wanted(size=sizes[0])])
    if first is None:
        return None
    return first, edited(rng, first, first.groups[item.kind], [item.wanted(size=sizes[1])])


def _recount(rng: Rng, scene: Scene, sampler: SceneSampler) -> Made:
    item = rng.pick(scene.objects)
    if scene.count(item.kind) > 1 and rng.chance(50):
        return scene, sampler.edited(rng, scene, [item], [])
    if scene.count(item.kind) == MOST_ALIKE or len(scene.objects) == MOST_OBJECTS:
        return None
    place = rng.pick(_free(scene))
    return scene, sampler.edited(rng, scene, [], [item.wanted(place=place)])


def _repaint(rng: Rng, scene: Scene, sampler: SceneSampler) -> Made:
    now = scene.background.colour
    others = [c for c in sampler.catalog.backgrounds_for(list(scene.groups)) if c != now]
    if not others:
        return None
    return scene, replace(scene, background=replace(scene.background, colour=rng.pick(others)))


def _replace(rng: Rng, scene: Scene, sampler: SceneSampler) -> Made:
    item, catalog = rng.pick(scene.singles), sampler.catalog
    kind = sampler.kind(rng)
    others = [other for other in scene.groups if other is not item.kind]
    if catalog.confusable(kind, item.kind) or not all(catalog.compatible(kind, o) for o in others):
        return None
    if scene.background.colour not in catalog.backgrounds_for([kind, *others]):
        return None
    return scene, sampler.edited(rng, scene, [item], [(kind, item.size, item.place)])


def _free(scene: Scene) -> list[GridCell]:
    taken = {item.place for item in scene.objects}
    return [place for place in GridCell if place not in taken]


# Objects a scene, and edits, with weights. What a name tells is learned from all scenes: edits that change
# one are rare.
NUMBERS = ((2, 40), (3, 38), (4, 22))
TURNED = 60  # percent of edits of a relation that move one object around the other; the rest exchange the two
EDITS = (
    ((Edit.RELATION, _relate), 46), ((Edit.PLACE, _move), 20), ((Edit.SIZE, _resize), 10),
    ((Edit.COUNT, _recount), 10), ((Edit.BACKGROUND, _repaint), 8), ((Edit.OBJECT, _replace), 6),
)  # fmt: skip
# How many things a caption leaves out at most where it may, with weights. What tells twins apart is learned
# first from captions that say nothing else.
PRUNED = ((1, 13), (2, 20), (99, 67))
PLACES = (1, 2, 3)  # most places that such a caption tells before it leaves things out
# The same of captions that leave nothing out. A relation that is learned where nothing else is named is not
# known yet where the other objects are named too: that takes captions of all in which it alone tells.
WHOLE_PLACES = (0, 0, 0, 1)
RELATED = 95  # percent of descriptions that relate two objects where they can, in every second of them
DEFINITE = 40  # percent of captions that say "the": neither "a" nor "the" shall tell captions from phrases


def draw_twins(
    sampler: SceneSampler, rng: Rng, whole: int
) -> tuple[Edit, tuple[Scene, Scene], tuple[list[str], list[str]]]:
    """What was done to a scene to make another, both, and up to four captions of each that are true of it and
    false of the other, of which `whole` percent name every object."""
    reserved = sampler.catalog.reserved
    while True:
        kinds = sampler.choose(rng, rng.weighted(NUMBERS), repeat=20)
        edit, make = rng.weighted(EDITS)
        if reserved(kinds):
            continue
        scene = sampler.place(rng, kinds)
        alone = edit in (Edit.PLACE, Edit.SIZE, Edit.OBJECT)  # these are of an object that is the only one
        made = None if alone and not scene.singles else make(rng, scene, sampler)
        first, second = made or (scene, None)
        if second is None or reserved(list(second.groups)):
            continue
        told = told_apart(rng, first, second, whole), told_apart(rng, second, first, whole)
        if all(told):
            return edit, (first, second), told


def told_apart(rng: Rng, scene: Scene, other: Scene, whole: int, count: int = 4) -> list[str]:
    """Up to `count` different captions of a scene that are clearly false of the other; maybe none."""
    found: dict[str, None] = {}
    for _ in range(_TRIES):
        entire = rng.chance(whole)
        places = rng.pick(WHOLE_PLACES if entire else PLACES)
        told = describe(rng, scene, places, RELATED if rng.chance(50) else USUALLY_RELATED)
        if scene.background.colour != other.background.colour:
            told = replace(told, background=scene.background.name)
        if contradicts(told, other):
            for _ in range(0 if entire else rng.weighted(PRUNED)):
                # Without facts that it does not need to be false of the other.
                shorter = [one for one in _shorter(told) if contradicts(one, other)]
                if not shorter:
                    break
                told = rng.pick(shorter)
            text = wording(rng, told)
            found.setdefault(re.sub(r"\ban? ", "the ", text) if rng.chance(DEFINITE) else text)
        if len(found) == count:
            break
    return list(found)


def _shorter(told: Description) -> Iterator[Description]:
    if told.background is not None:
        yield replace(told, background=None)
    if told.link is not None:
        yield replace(told, link=None)
    for place, item in enumerate(told.items):
        if (fewer := without_item(told, place)) is not None:
            yield fewer
        for fact in ("size", "place"):
            if getattr(item, fact) is not None:
                less = replace(item, **{fact: None})
                yield replace(told, items=(*told.items[:place], less, *told.items[place + 1 :]))
