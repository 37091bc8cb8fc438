"""Captions of whole scenes in varied wording; everything said is true."""

from collections.abc import Callable, Sequence

from xfm.world.grammar import NUMBERS, PLACE_PHRASES, SIZE_WORDS, counted, joined, opened, with_article
from xfm.world.relations import RELATION_PHRASES, SIDE_PHRASES, is_between, relation_between
from xfm.world.rng import Rng
from xfm.world.scene import Scene, SceneObject, Size

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
        words.append(rng.pick(SIZE_WORDS[items[0].size]))
    if kind.colour and not kind.colour_in_name and rng.chance(detail):
        words.append(kind.colour)
    return counted(len(items), " ".join([*words, kind.name]))


def _placed(rng: Rng, item: SceneObject, detail: int = 15) -> str:
    return f"{described(rng, [item], detail)} {rng.pick(PLACE_PHRASES[item.place])}"


def _shuffled_groups(rng: Rng, scene: Scene) -> list[list[SceneObject]]:
    return rng.shuffled(list(scene.groups.values()))


def list_caption(rng: Rng, scene: Scene) -> str:
    """Every object by name, with counts."""
    detail = rng.pick((0, 0, 30, 60)) if len(scene.groups) < 4 else 10
    parts = [described(rng, group, detail) for group in _shuffled_groups(rng, scene)]
    return opened(rng.pick(_OPENERS), joined(parts))


def place_caption(rng: Rng, scene: Scene) -> str:
    """Objects with their absolute places; of crowded scenes some objects without."""
    groups = _shuffled_groups(rng, scene)
    placed = [g for g in groups if len(g) == 1][:MAX_PLACES]
    detail = 15 if len(groups) < 3 else 0
    # Objects without a place come last: "a cat and a tree at the top" would place the cat too.
    parts = [_placed(rng, g[0], detail) for g in placed]
    return joined(parts + [described(rng, g, 0) for g in groups if g not in placed])


def background_caption(rng: Rng, scene: Scene) -> str:
    """Every object, and the colour of the background."""
    colour = scene.background.name
    parts = joined([described(rng, group, 10) for group in _shuffled_groups(rng, scene)])
    background = f"{with_article(colour)} background"
    return rng.pick(
        (f"{parts} on {background}", f"on {background}: {parts}", f"{parts} in front of {background}")
    )


def relation_caption(rng: Rng, scene: Scene) -> str | None:
    """Two single objects in their relation, then the rest."""
    pairs = [
        (a, b, relation)
        for a in scene.singles
        for b in scene.singles
        if a is not b and (relation := relation_between(a, b, scene.image_size)) is not None
    ]
    if not pairs:
        return None
    a, b, relation = rng.pick(pairs)
    first, second = described(rng, [a], 15), described(rng, [b], 15)
    if rng.chance(25):
        text = f"{second} with {first} {SIDE_PHRASES[relation]}"
    else:
        text = f"{first} {rng.pick(RELATION_PHRASES[relation])} {second}"
    rest = [g for g in _shuffled_groups(rng, scene) if g[0] is not a and g[0] is not b]
    if not rest:
        return text
    parts = [
        _placed(rng, g[0], 0) if len(g) == 1 and len(rest) == 1 and rng.chance(50) else described(rng, g, 0)
        for g in rest
    ]
    return f"{text}, {rng.pick(('and', 'with', 'also'))} {joined(parts)}"


def between_caption(rng: Rng, scene: Scene) -> str | None:
    """One single object between two others, then the rest."""
    singles = scene.singles
    triples = [
        (a, b, c)
        for a in singles
        for i, b in enumerate(singles)
        for c in singles[i + 1 :]
        if a is not b and a is not c and is_between(a, b, c, scene.image_size)
    ]
    if not triples:
        return None
    a, *ends = rng.pick(triples)
    b, c = rng.shuffled(ends)
    text = f"{with_article(a.name)} between {with_article(b.name)} and {with_article(c.name)}"
    rest = [g for g in _shuffled_groups(rng, scene) if g[0] not in (a, b, c)]
    return f"{text}, with {joined([described(rng, g, 0) for g in rest])}" if rest else text


def count_caption(rng: Rng, scene: Scene) -> str | None:
    """How many objects there are, and which."""
    total = len(scene.objects)
    if total < 2:
        return None
    parts = joined([described(rng, group, 0) for group in _shuffled_groups(rng, scene)])
    return f"{NUMBERS[total]} {rng.pick(('objects', 'things'))}: {parts}"


_KINDS: tuple[tuple[Callable[[Rng, Scene], str | None], int], ...] = (
    (list_caption, 25),
    (place_caption, 32),
    (relation_caption, 26),
    (between_caption, 8),
    (background_caption, 7),
    (count_caption, 5),
)


def caption(rng: Rng, scene: Scene) -> str:
    """One caption that names every object, at most MAX_WORDS words."""
    for _ in range(8):
        text = rng.weighted(_KINDS)(rng, scene)
        if text is not None and text.count(" ") < MAX_WORDS:
            return text
    return joined([counted(len(group), kind.name) for kind, group in scene.groups.items()])


def captions(rng: Rng, scene: Scene, count: int) -> list[str]:
    """Up to `count` different captions."""
    texts: dict[str, None] = {}
    for _ in range(count + 2):
        texts.setdefault(caption(rng, scene))
        if len(texts) == count:
            break
    return list(texts)
