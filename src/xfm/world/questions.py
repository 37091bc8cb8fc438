"""Questions about one picture, with short answers from a closed vocabulary. The question does not tell the
answer: labels of yes/no questions and counts are drawn first, and colours are asked about objects that the
question does not name."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from xfm.world import grammar
from xfm.world.catalog import Catalog, ObjectType
from xfm.world.phrases import Referrer, by_between, by_extreme, by_place, by_relation, by_size, refer, the
from xfm.world.rng import Rng
from xfm.world.scene import GridCell, Scene, Size


class QuestionKind(StrEnum):
    """What is asked."""

    WHAT = "what"
    WHERE = "where"
    HOW_MANY = "how many"
    COLOUR = "colour"
    YES_NO = "yes/no"


class Question(NamedTuple):
    """A question, its answer, and what kind it is."""

    question: str
    answer: str
    kind: QuestionKind


def _elsewhere() -> list[list[GridCell]]:
    """Rearrangements of the nine places that move each to a clearly different one. They keep every place as
    frequent among wrong claims as among right ones; drawing from all different places would not."""
    rng, found = Rng("elsewhere"), []
    while len(found) < 32:
        moved = rng.shuffled(tuple(GridCell))
        if all(grammar.places_differ(p, q) for p, q in zip(GridCell, moved, strict=True)):
            found.append(moved)
    return found


_ELSEWHERE = _elsewhere()
_UNNAMED: tuple[tuple[Referrer, int], ...] = (
    (by_place, 45), (by_relation, 33), (by_extreme, 8), (by_size, 10), (by_between, 4)
)  # fmt: skip


def what(rng: Rng, scene: Scene, catalog: Catalog) -> Question | None:
    """The name of an object that is referred to by place, relation or size; always one of the answerable."""
    items = [o for o in scene.objects if o.kind in catalog.answerable]
    if not items:
        return None
    item = rng.pick(items)
    phrase = refer(rng, scene, item, _UNNAMED, generic=100, determiners=(the,))
    if phrase is None:
        return None
    words = phrase.split()
    # "what is above the cat?" reads better than "what is the object above the cat?"
    short = words[2:] if words[0] == "the" and len(words) > 2 and words[1] in ("object", "thing") else None
    text = " ".join(short) if short and rng.chance(70) else phrase
    return Question(f"what is {text}?", item.name, QuestionKind.WHAT)


def where(rng: Rng, scene: Scene, catalog: Catalog) -> Question | None:
    """The place of an object that is the only one of its kind."""
    if not scene.singles:
        return None
    item = rng.pick(scene.singles)
    wording = rng.pick(("where is the {}?", "where in the picture is the {}?", "in which part is the {}?"))
    return Question(wording.format(item.name), item.place.words, QuestionKind.WHERE)


def how_many(rng: Rng, scene: Scene, kind: ObjectType | None) -> Question:
    """How many objects of `kind`, which may be absent, or in all."""
    if kind is None:
        return Question(
            "how many objects are there?", grammar.NUMBERS[len(scene.objects)], QuestionKind.HOW_MANY
        )
    wordings = ("how many {} are there?", "how many {} can you see?", "how many {} does the picture show?")
    wording = rng.pick(wordings)
    return Question(
        wording.format(grammar.plural(kind.name)), grammar.NUMBERS[scene.count(kind)], QuestionKind.HOW_MANY
    )


def colour(rng: Rng, scene: Scene, catalog: Catalog) -> Question | None:
    """The colour of the background, or of an object that the question does not name."""
    if rng.chance(25):
        name = scene.background.name
        return Question("what colour is the background?", name, QuestionKind.COLOUR)
    coloured = [o for o in scene.objects if o.kind.colour]
    if not coloured:
        return None
    item = rng.pick(coloured)
    phrase = refer(rng, scene, item, _UNNAMED, generic=100, determiners=(the,))
    if phrase is None or item.kind.colour is None:
        return None
    return Question(f"what colour is {phrase}?", item.kind.colour, QuestionKind.COLOUR)


def _presence(rng: Rng, scene: Scene, label: bool, catalog: Catalog) -> str | None:
    kind = rng.pick(scene.objects).kind if label else absent(rng, scene, catalog)
    wording = rng.pick(("is there {}?", "does the picture show {}?", "can you see {}?"))
    return wording.format(grammar.with_article(kind.name))


def _at_place(rng: Rng, scene: Scene, label: bool, catalog: Catalog) -> str | None:
    if not scene.singles:
        return None
    item = rng.pick(scene.singles)
    place = item.place if label else rng.pick(_ELSEWHERE)[item.place]
    return f"is the {item.name} {rng.pick(grammar.PLACE_PHRASES[place])}?"


def _related(rng: Rng, scene: Scene, label: bool, catalog: Catalog) -> str | None:
    if len(scene.singles) < 2:
        return None
    a, b = rng.sample(scene.singles, 2)
    relation = grammar.relation_between(a, b, scene.image_size)
    if relation is None:
        return None
    claimed = relation if label else relation.inverse
    return f"is the {a.name} {rng.pick(grammar.RELATION_PHRASES[claimed])} the {b.name}?"


def _sized(rng: Rng, scene: Scene, label: bool, catalog: Catalog) -> str | None:
    claimed = rng.pick((Size.SMALL, Size.LARGE))
    actual = claimed if label else Size(2 - claimed)
    fitting = [o for o in scene.singles if o.size is actual]
    return (
        f"is the {rng.pick(fitting).name} {rng.pick(grammar.SIZE_WORDS[claimed][:2])}?" if fitting else None
    )


def _numbered(rng: Rng, scene: Scene, label: bool, catalog: Catalog) -> str | None:
    # One object or two: both numbers occur with both answers.
    claimed = rng.pick((1, 2))
    actual = claimed if label else 3 - claimed
    fitting = [kind for kind, members in scene.groups.items() if len(members) == actual]
    if not fitting:
        return None
    name = rng.pick(fitting).name
    return f"are there two {grammar.plural(name)}?" if claimed == 2 else f"is there only one {name}?"


_Claim = Callable[[Rng, Scene, bool, Catalog], str | None]
_CLAIMS: tuple[tuple[_Claim, int], ...] = (
    (_presence, 35), (_at_place, 25), (_related, 25), (_sized, 8), (_numbered, 7)
)  # fmt: skip


def yes_no(rng: Rng, scene: Scene, catalog: Catalog) -> Question | None:
    """A question whose answer is drawn first."""
    label = rng.chance(50)
    text = rng.weighted(_CLAIMS)(rng, scene, label, catalog)
    return None if text is None else Question(text, "yes" if label else "no", QuestionKind.YES_NO)


def absent(rng: Rng, scene: Scene, catalog: Catalog) -> ObjectType:
    """A seen kind that is not in the scene and whose name does not clash with one that is."""
    while True:
        kind = rng.pick(catalog.seen)
        if not any(catalog.confusable(kind, other) for other in scene.groups):
            return kind


def ask(rng: Rng, scene: Scene, catalog: Catalog, count: int) -> list[Question]:
    """Up to `count` questions, each of another kind, and none HOW_MANY."""
    # "what" twice: it fails where no object of the scene is answerable.
    kinds, found = (what, what, where, colour, yes_no), dict[QuestionKind, Question]()
    for _ in range(6 * count):
        question = rng.pick(kinds)(rng, scene, catalog)
        if question is not None:
            found.setdefault(question.kind, question)
        if len(found) == count:
            break
    return list(found.values())
