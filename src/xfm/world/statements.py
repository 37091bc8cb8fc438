"""Statements about two pictures, true or false. In the rows of a design each statement is as often true as
false, over pictures in either role: neither the text nor one picture alone tells the label."""

from collections.abc import Callable
from typing import NamedTuple

from xfm.world import grammar
from xfm.world.rng import Rng
from xfm.world.scene import Scene, SceneSampler

SIDES = ("left", "right")


class Statement(NamedTuple):
    """A statement about the pictures `left` and `right`."""

    left: Scene
    right: Scene
    text: str
    label: bool


def _mirrored(rng: Rng, a: Scene, b: Scene, text: str) -> list[Statement]:
    side = rng.below(2)
    statement = text.format(side=SIDES[side], other=SIDES[1 - side])
    pairs = ((a, b), (b, a)) if side == 0 else ((b, a), (a, b))
    return [Statement(*pairs[0], statement, True), Statement(*pairs[1], statement, False)]


# ---------------------------------------------------------------- which side
def _one_sided(rng: Rng, sampler: SceneSampler) -> list[Statement]:
    kind = sampler.kind(rng)
    a, b = sampler.scene(rng, [kind], kind), sampler.scene(rng, [], kind)
    noun = grammar.with_article(kind.name)
    forms = (
        f"the {{side}} picture shows {noun}",
        f"there is {noun} in the {{side}} picture",
        f"only the {{side}} picture shows {noun}",
        f"{noun} is in the {{side}} picture but not in the {{other}} one",
    )
    return _mirrored(rng, a, b, rng.pick(forms))


def _more(rng: Rng, sampler: SceneSampler) -> list[Statement]:
    kind = sampler.kind(rng)
    many, few = rng.pick(((2, 1), (3, 1), (3, 2)))
    a, b = sampler.scene(rng, [kind] * many, kind), sampler.scene(rng, [kind] * few, kind)
    names = grammar.plural(kind.name)
    if rng.chance(50):
        return _mirrored(rng, a, b, f"the {{side}} picture has more {names} than the {{other}} one")
    return _mirrored(rng, b, a, f"there are fewer {names} in the {{side}} picture than in the {{other}} one")


def _placed(rng: Rng, sampler: SceneSampler) -> list[Statement]:
    kind = sampler.kind(rng)
    a = sampler.scene(rng, [kind], kind)
    for _ in range(20):
        b = sampler.scene(rng, [kind], kind)
        place = a.groups[kind][0].place
        if grammar.places_differ(place, b.groups[kind][0].place):
            where = rng.pick(grammar.PLACE_PHRASES[place])
            form = rng.pick(("the {} in the {{side}} picture is {}", "in the {{side}} picture the {} is {}"))
            return _mirrored(rng, a, b, form.format(kind.name, where))
    return []


def _related(rng: Rng, sampler: SceneSampler) -> list[Statement]:
    first, second = sampler.pair(rng)
    a = sampler.scene(rng, [first, second], count=2)
    relation = grammar.relation_between(a.groups[first][0], a.groups[second][0], a.image_size)
    for _ in range(20):
        b = sampler.scene(rng, [first, second], count=2)
        other = grammar.relation_between(b.groups[first][0], b.groups[second][0], b.image_size)
        if relation is not None and other is relation.inverse:
            words = rng.pick(grammar.RELATION_PHRASES[relation])
            return _mirrored(
                rng, a, b, f"in the {{side}} picture the {first.name} is {words} the {second.name}"
            )
    return []


def _side_background(rng: Rng, sampler: SceneSampler) -> list[Statement]:
    a, b = sampler.scene(rng, []), sampler.scene(rng, [])
    if a.background.colour == b.background.colour:
        return []
    colour = a.background.name
    form = rng.pick(
        ("the background of the {side} picture is {{}}", "the {side} picture has {{article}} background")
    )
    text = form.replace("{{}}", colour).replace("{{article}}", grammar.with_article(colour))
    return _mirrored(rng, a, b, text)


def _side_count(rng: Rng, sampler: SceneSampler) -> list[Statement]:
    m, n = rng.sample(range(sampler.least, sampler.least + 4), 2)
    a, b = sampler.scene(rng, [], count=m), sampler.scene(rng, [], count=n)
    noun = "one object" if m == 1 else f"{grammar.NUMBERS[m]} objects"
    return _mirrored(rng, a, b, f"there {'is' if m == 1 else 'are'} {noun} in the {{side}} picture")


# ---------------------------------------------------------------- both pictures
def _crossed(rng: Rng, a: Scene, b: Scene, c: Scene, first: str, second: str | None) -> list[Statement]:
    """`first` is true of `a` and `b`, and of no pair with `c`; `second` the other way round."""
    with_c = (a, c) if rng.chance(50) else (c, b)
    rows = [Statement(a, b, first, True), Statement(*with_c, first, False)]
    if second is not None:
        rows += [Statement(a, b, second, False), Statement(*with_c, second, True)]
    return rows


def _both(rng: Rng, sampler: SceneSampler) -> list[Statement]:
    kind = sampler.kind(rng)
    a, b, c = sampler.scene(rng, [kind], kind), sampler.scene(rng, [kind], kind), sampler.scene(rng, [], kind)
    noun = grammar.with_article(kind.name)
    shared = rng.pick((f"both pictures show {noun}", f"there is {noun} in both pictures"))
    lone = rng.pick((f"only one of the pictures shows {noun}", f"just one picture shows {noun}"))
    return _crossed(rng, a, b, c, shared, lone)


def _neither(rng: Rng, sampler: SceneSampler) -> list[Statement]:
    kind = sampler.kind(rng)
    a, b, c = sampler.scene(rng, [], kind), sampler.scene(rng, [], kind), sampler.scene(rng, [kind], kind)
    noun = grammar.with_article(kind.name)
    none, some = f"neither picture shows {noun}", f"at least one picture shows {noun}"
    return _crossed(rng, a, b, c, none, some)


def _same_count(rng: Rng, sampler: SceneSampler) -> list[Statement]:
    m, n = rng.sample(range(sampler.least, sampler.least + 4), 2)
    a, b = sampler.scene(rng, [], count=m), sampler.scene(rng, [], count=m)
    c = sampler.scene(rng, [], count=n)
    text = rng.pick(
        ("both pictures show the same number of objects", "the pictures have equally many objects")
    )
    return _crossed(rng, a, b, c, text, None)


def _total(rng: Rng, sampler: SceneSampler) -> list[Statement]:
    kind = sampler.kind(rng)
    a = sampler.scene(rng, [kind], kind)
    counts = rng.sample((1, 2, 3), 2)
    scenes = [sampler.scene(rng, [kind] * n, kind) for n in counts]
    texts = [
        f"there are {grammar.NUMBERS[n + 1]} {grammar.plural(kind.name)} in the two pictures together"
        for n in counts
    ]
    rows = [(scene, text, i == j) for i, scene in enumerate(scenes) for j, text in enumerate(texts)]
    return [Statement(a, scene, text, label) for scene, text, label in rows]


Design = Callable[[Rng, SceneSampler], list[Statement]]
_DESIGNS: tuple[tuple[Design, int], ...] = (
    (_one_sided, 26), (_both, 13), (_neither, 7), (_placed, 18), (_related, 14), (_more, 10),
    (_side_background, 6), (_side_count, 6), (_same_count, 4), (_total, 4),
)  # fmt: skip


def statements(rng: Rng, sampler: SceneSampler) -> list[Statement]:
    """The two or four rows of one design."""
    while True:
        rows = rng.weighted(_DESIGNS)(rng, sampler)
        if rows:
            return rows


TRIES = 40


AbsenceExample = tuple[tuple[Scene, Scene], tuple[str, str], str]
"""Two scenes, for each a phrase that is true of it alone, and the kind of the two."""


def absent_objects(rng: Rng, sampler: SceneSampler) -> AbsenceExample:
    """An object of each scene that the other does not show."""
    catalog = sampler.catalog
    while True:
        first, second = sampler.kind(rng), sampler.kind(rng)
        scenes = (sampler.scene(rng, [first], first), sampler.scene(rng, [second], second))
        strange = ((first, scenes[1]), (second, scenes[0]))
        if not any(catalog.confusable(kind, other) for kind, scene in strange for other in scene.groups):
            article = rng.pick((grammar.with_article, "the {}".format))
            return scenes, (article(first.name), article(second.name)), "object"


def absent_relations(rng: Rng, sampler: SceneSampler) -> AbsenceExample:
    """Two objects in both scenes, in one the other way round."""
    catalog = sampler.catalog
    while True:
        pair = sampler.pair(rng)
        kinds = sampler.choose(rng, rng.pick((2, 3, 3, 4)), pair, repeat=0)
        if not catalog.reserved(kinds):  # twins of training scenes show others
            continue
        scenes = [sampler.place(rng, kinds) for _ in range(TRIES)]
        shown = [(scene, [scene.groups[kind][0] for kind in pair]) for scene in scenes]
        for relation in rng.shuffled(list(grammar.Relation)):
            # Where a relation clearly holds, its inverse is clearly false.
            there, turned = (
                [scene for scene, (a, b) in shown if grammar.holds(a, told, b, scene.image_size)]
                for told in (relation, relation.inverse)
            )
            if there and turned:
                style = rng.below(3)
                phrases = [
                    f"the {pair[0].name} {grammar.RELATION_PHRASES[one][style]} the {pair[1].name}"
                    for one in (relation, relation.inverse)
                ]
                return (there[0], turned[0]), (phrases[0], phrases[1]), "relation"
