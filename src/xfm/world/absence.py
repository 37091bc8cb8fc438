"""Phrases that are true or false of a picture.

Every design has two pictures and two phrases, each true of one picture alone, so that neither the text nor
the picture alone tells which.
"""

from typing import NamedTuple

from xfm.world.catalog import ObjectType
from xfm.world.grammar import with_article
from xfm.world.relations import RELATION_PHRASES, Relation, holds
from xfm.world.rng import Rng
from xfm.world.scene import Scene
from xfm.world.statements import PairMaker

TRIES = 40


class AbsenceExample(NamedTuple):
    """Two scenes, and for each a phrase that is true of it alone."""

    scenes: tuple[Scene, Scene]
    phrases: tuple[str, str]
    kind: str


def absent_objects(rng: Rng, maker: PairMaker) -> AbsenceExample:
    """An object of each scene that the other does not show."""
    catalog = maker.sampler.catalog
    while True:
        first, second = maker.kinds.kind(rng), maker.kinds.kind(rng)
        scenes = (maker.scene(rng, [first], first), maker.scene(rng, [second], second))
        strange = ((first, scenes[1]), (second, scenes[0]))
        if not any(catalog.confusable(kind, other) for kind, scene in strange for other in scene.groups):
            article = rng.pick((with_article, "the {}".format))
            return AbsenceExample(scenes, (article(first.name), article(second.name)), "object")


def absent_relations(rng: Rng, maker: PairMaker) -> AbsenceExample:
    """Two objects in both scenes, in one the other way round."""
    catalog = maker.sampler.catalog
    while True:
        pair = maker.kinds.pair(rng)
        kinds = maker.kinds.choose(rng, rng.pick((2, 3, 3, 4)), pair, repeat=0)
        if not catalog.reserved(kinds):  # twins of training scenes show others
            continue
        scenes = [maker.sampler.place(rng, kinds) for _ in range(TRIES)]
        for relation in rng.shuffled(list(Relation)):
            there = [scene for scene in scenes if _is(scene, pair, relation)]
            turned = [scene for scene in scenes if _is(scene, pair, relation.inverse)]
            if there and turned:
                style = rng.below(3)
                phrases = [
                    f"the {pair[0].name} {RELATION_PHRASES[one][style]} the {pair[1].name}"
                    for one in (relation, relation.inverse)
                ]
                return AbsenceExample((there[0], turned[0]), (phrases[0], phrases[1]), "relation")


def _is(scene: Scene, pair: tuple[ObjectType, ObjectType], relation: Relation) -> bool:
    """Whether the relation clearly holds; then the inverse is clearly false."""
    first, second = (scene.groups[kind][0] for kind in pair)
    return holds(first, relation, second, scene.image_size)
