"""Captions of scenes in varied wording, and captions with false distractors."""

from collections.abc import Callable, Sequence
from itertools import product

from xfm.world import grammar, palette
from xfm.world.rng import Rng
from xfm.world.scene import GridCell, Scene, SceneObject, Size
from xfm.world.twins import MOST_ALIKE, MOST_OBJECTS, Edit

MAX_WORDS = 24
MAX_PLACES = 3

_OPENERS = (
    "", "", "", "", "a picture of ", "an image of ", "there is ", "this shows ", "we see ", "a scene with ",
)  # fmt: skip


def described(rng: Rng, items: Sequence[SceneObject], detail: int) -> str:
    """A noun phrase for equal objects, "two cats"; `detail` is the percentage with a size, and a colour."""
    kind = items[0].kind
    words = []
    sizes = {item.size for item in items}
    if len(sizes) == 1 and Size.MEDIUM not in sizes and rng.chance(detail):
        words.append(rng.pick(grammar.SIZE_WORDS[items[0].size]))
    if kind.colour and not kind.colour_in_name and rng.chance(detail):
        words.append(kind.colour)
    return grammar.counted(len(items), " ".join([*words, kind.name]))


def _placed(rng: Rng, item: SceneObject, detail: int = 15) -> str:
    return f"{described(rng, [item], detail)} {rng.pick(grammar.PLACE_PHRASES[item.place])}"


def _shuffled_groups(rng: Rng, scene: Scene) -> list[list[SceneObject]]:
    return rng.shuffled(list(scene.groups.values()))


def _listed(rng: Rng, scene: Scene, detail: int) -> str:
    return grammar.joined([described(rng, group, detail) for group in _shuffled_groups(rng, scene)])


def list_caption(rng: Rng, scene: Scene) -> str:
    """Every object by name, with counts."""
    parts = _listed(rng, scene, rng.pick((0, 0, 30, 60)) if len(scene.groups) < 4 else 10)
    return grammar.opened(rng.pick(_OPENERS), parts)


def place_caption(rng: Rng, scene: Scene) -> str:
    """Objects with their absolute places; of crowded scenes some objects without."""
    groups = _shuffled_groups(rng, scene)
    placed = [g for g in groups if len(g) == 1][:MAX_PLACES]
    detail = 15 if len(groups) < 3 else 0
    # Objects without a place come last: "a cat and a tree at the top" would place the cat too.
    parts = [_placed(rng, g[0], detail) for g in placed]
    return grammar.joined(parts + [described(rng, g, 0) for g in groups if g not in placed])


def _background_caption(rng: Rng, scene: Scene) -> str:
    return grammar.on_background(rng, _listed(rng, scene, 10), scene.background.name)


def _relation_caption(rng: Rng, scene: Scene) -> str | None:
    pairs = [
        (a, b, relation)
        for a in scene.singles
        for b in scene.singles
        if a is not b and (relation := grammar.relation_between(a, b, scene.image_size)) is not None
    ]
    if not pairs:
        return None
    a, b, relation = rng.pick(pairs)
    first, second = described(rng, [a], 15), described(rng, [b], 15)
    text = grammar.in_relation(rng, first, relation, second, aside=rng.chance(25))
    rest = [g for g in _shuffled_groups(rng, scene) if g[0] is not a and g[0] is not b]
    if not rest:
        return text
    parts = [
        _placed(rng, g[0], 0) if len(g) == 1 and len(rest) == 1 and rng.chance(50) else described(rng, g, 0)
        for g in rest
    ]
    return f"{text}, {rng.pick(('and', 'with', 'also'))} {grammar.joined(parts)}"


def _between_caption(rng: Rng, scene: Scene) -> str | None:
    singles = scene.singles
    triples = [
        (a, b, c)
        for a in singles
        for i, b in enumerate(singles)
        for c in singles[i + 1 :]
        if a is not b and a is not c and grammar.is_between(a, b, c, scene.image_size)
    ]
    if not triples:
        return None
    a, *ends = rng.pick(triples)
    b, c = rng.shuffled(ends)
    text = "{} between {} and {}".format(*(grammar.with_article(one.name) for one in (a, b, c)))
    rest = [g for g in _shuffled_groups(rng, scene) if g[0] not in (a, b, c)]
    return f"{text}, with {grammar.joined([described(rng, g, 0) for g in rest])}" if rest else text


def _count_caption(rng: Rng, scene: Scene) -> str | None:
    total = len(scene.objects)
    if total < 2:
        return None
    parts = _listed(rng, scene, 0)
    return f"{grammar.NUMBERS[total]} {rng.pick(('objects', 'things'))}: {parts}"


_KINDS: tuple[tuple[Callable[[Rng, Scene], str | None], int], ...] = (
    (list_caption, 25),
    (place_caption, 32),
    (_relation_caption, 26),
    (_between_caption, 8),
    (_background_caption, 7),
    (_count_caption, 5),
)


def caption(rng: Rng, scene: Scene) -> str:
    """One caption that names every object, at most MAX_WORDS words."""
    for _ in range(8):
        text = rng.weighted(_KINDS)(rng, scene)
        if text is not None and text.count(" ") < MAX_WORDS:
            return text
    return grammar.joined([grammar.counted(len(group), kind.name) for kind, group in scene.groups.items()])


def captions(rng: Rng, scene: Scene, count: int) -> list[str]:
    """Up to `count` different captions."""
    texts: dict[str, None] = {}
    for _ in range(count + 2):
        texts.setdefault(caption(rng, scene))
        if len(texts) == count:
            break
    return list(texts)


COUNT = 3


HardCaption = tuple[str, list[str]]
"""A true caption and COUNT false ones of the same form."""


def _relations(rng: Rng, scene: Scene) -> HardCaption | None:
    pair = rng.sample(scene.singles, 2)
    if len(pair) < 2:
        return None
    a, b = pair
    relation = grammar.relation_between(a, b, scene.image_size)
    if relation is None or not all(
        r is relation or grammar.excluded(a, r, b, scene.image_size) for r in grammar.Relation
    ):  # a diagonal pair: the other axis would be half true
        return None
    rest = [grammar.with_article(o.name) for o in scene.singles if o is not a and o is not b]
    tail = f", and {grammar.joined(rest)}" if rest else ""
    style = rng.below(3)

    def text(first: SceneObject, r: grammar.Relation, second: SceneObject) -> str:
        left, right = grammar.with_article(first.name), grammar.with_article(second.name)
        return f"{left} {grammar.RELATION_PHRASES[r][style]} {right}{tail}"

    false = [text(a, r, b) for r in grammar.Relation if r is not relation]
    false += [text(b, r, a) for r in grammar.Relation if r is not relation.inverse]
    return text(a, relation, b), rng.sample(false, COUNT)


def _places(rng: Rng, scene: Scene) -> HardCaption | None:
    if len(scene.singles) < 2:
        return None
    items = rng.sample(scene.singles, 3)
    style = rng.below(3)

    def text(places: list[GridCell]) -> str:
        named = zip(items, places, strict=True)
        return grammar.joined(
            [f"{grammar.with_article(o.name)} {grammar.PLACE_PHRASES[p][style]}" for o, p in named]
        )

    true = [o.place for o in items]
    found: dict[str, None] = {}
    for _ in range(40):
        places = rng.shuffled(true) if rng.chance(60) else rng.sample(tuple(GridCell), len(items))
        # Every object that moved is clearly elsewhere, and one did.
        moved = [(p, q) for p, q in zip(true, places, strict=True) if p is not q]
        if moved and all(grammar.places_differ(p, q) for p, q in moved):
            found.setdefault(text(places))
        if len(found) == COUNT:
            return text(true), list(found)
    return None


def _sizes(rng: Rng, scene: Scene) -> HardCaption | None:
    sized = [item for item in scene.singles if item.size is not Size.MEDIUM]
    if len(sized) < 2:
        return None
    items, style = rng.sample(sized, 2), rng.below(3)
    rest = [grammar.with_article(o.name) for o in scene.singles if o not in items]

    def text(sizes: tuple[Size, ...]) -> str:
        named = [
            grammar.with_article(f"{grammar.SIZE_WORDS[size][style]} {item.name}")
            for item, size in zip(items, sizes, strict=True)
        ]
        return grammar.joined([*named, *rest])

    true = tuple(item.size for item in items)
    false = [sizes for sizes in product((Size.SMALL, Size.LARGE), repeat=2) if sizes != true]
    return text(true), [text(sizes) for sizes in rng.shuffled(false)]


def _counts(rng: Rng, scene: Scene) -> HardCaption | None:
    kinds = rng.shuffled(list(scene.groups))

    def text(counts: tuple[int, ...]) -> str:
        return grammar.joined(
            [grammar.counted(count, kind.name) for kind, count in zip(kinds, counts, strict=True)]
        )

    true = tuple(scene.count(kind) for kind in kinds)
    false = [
        counts
        for counts in product(range(1, MOST_ALIKE + 1), repeat=len(kinds))
        if counts != true and sum(counts) <= MOST_OBJECTS and sum(map(int.__ne__, counts, true)) == 1
    ]
    if len(false) < COUNT or max(true) == 1:
        return None
    return text(true), [text(counts) for counts in rng.sample(false, COUNT)]


def _backgrounds(rng: Rng, scene: Scene) -> HardCaption | None:
    parts = grammar.joined([grammar.counted(len(group), kind.name) for kind, group in scene.groups.items()])

    def text(colour: str) -> str:
        return f"{parts} on {grammar.with_article(colour)} background"

    others = [name for name, _ in palette.BACKGROUNDS if name != scene.background.name]
    return text(scene.background.name), [text(colour) for colour in rng.sample(others, COUNT)]


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
    return found if found is not None and len({found[0], *found[1]}) == COUNT + 1 else None
