"""English for the world's sentences: articles, plurals, numbers, places, sizes, and spatial relations."""

from collections.abc import Sequence
from enum import IntEnum

from xfm.world.rng import Rng
from xfm.world.scene import GridCell, SceneObject, Size


class Relation(IntEnum):
    """Where the first of two objects is, seen from the second."""

    LEFT, RIGHT, ABOVE, BELOW = range(4)

    @property
    def inverse(self) -> "Relation":
        """The relation of the second object to the first."""
        return Relation(self ^ 1)


# Wordings "A {wording} B". The first of each is used where space is short.
RELATION_PHRASES: dict[Relation, tuple[str, ...]] = {
    Relation.LEFT: ("left of", "to the left of", "on the left of"),
    Relation.RIGHT: ("right of", "to the right of", "on the right of"),
    Relation.ABOVE: ("above", "over", "higher than"),
    Relation.BELOW: ("below", "under", "lower than"),
}
# Wordings "A with B {wording}": B's place seen from A.
SIDE_PHRASES: dict[Relation, str] = {
    Relation.LEFT: "to its left",
    Relation.RIGHT: "to its right",
    Relation.ABOVE: "above it",
    Relation.BELOW: "below it",
}


def _offset(a: SceneObject, b: SceneObject, relation: Relation) -> tuple[int, int]:
    dx, dy = a.x2 - b.x2, a.y2 - b.y2
    return ((-dx, abs(dy)), (dx, abs(dy)), (-dy, abs(dx)), (dy, abs(dx)))[relation]


def holds(a: SceneObject, relation: Relation, b: SceneObject, image_size: int) -> bool:
    """Clearly true: at least an eighth of the picture's side, and more along the direction than across."""
    along, across = _offset(a, b, relation)
    return along * 4 >= image_size and along * 10 >= across * 9


def excluded(a: SceneObject, relation: Relation, b: SceneObject, image_size: int) -> bool:
    """Clearly false: in that direction by a fortieth of the side at most, or far more across than along."""
    along, across = _offset(a, b, relation)
    return along * 20 <= image_size or across > 3 * along


def relation_between(a: SceneObject, b: SceneObject, image_size: int) -> Relation | None:
    """The relation of `a` to `b` that clearly holds, the dominant one if two do; None if none does."""
    best = max(Relation, key=lambda r: _offset(a, b, r)[0])
    return best if holds(a, best, b, image_size) else None


def is_between(a: SceneObject, b: SceneObject, c: SceneObject, image_size: int) -> bool:
    """Whether `a` lies between `b` and `c`: between them along one axis, near their line across it."""
    margin, near = image_size // 4, image_size // 3
    for ax, ay, bx, by, cx, cy in (
        (a.x2, a.y2, b.x2, b.y2, c.x2, c.y2),
        (a.y2, a.x2, b.y2, b.x2, c.y2, c.x2),
    ):
        if bx > cx:
            bx, by, cx, cy = cx, cy, bx, by
        if bx + margin <= ax <= cx - margin and abs(cy - by) <= cx - bx:
            line = by + (cy - by) * (ax - bx) // (cx - bx)
            return abs(ay - line) <= near
    return False


def places_differ(a: GridCell, b: GridCell) -> bool:
    """Whether the words of two places contradict each other ("top" does not contradict "top left")."""
    first, second = set(a.words.split()), set(b.words.split())
    return not (first <= second or second <= first)


NUMBERS = ("zero", "one", "two", "three", "four", "five")

_INVARIANT = frozenset(
    {"sheep", "deer", "moose", "bison", "fish", "squid", "shrimp", "fleur-de-lis", "falafel"}
)
_IRREGULAR = {
    "mouse": "mice", "goose": "geese", "ox": "oxen", "tooth": "teeth", "die": "dice", "snowman": "snowmen",
    "leaf": "leaves", "loaf": "loaves", "knife": "knives", "scarf": "scarves", "wolf": "wolves",
    "cactus": "cacti", "potato": "potatoes", "tomato": "tomatoes", "mango": "mangoes", "volcano": "volcanoes",
    "buffalo": "buffaloes", "tornado": "tornadoes",
}  # fmt: skip
_VOWEL_SOUND = (*"aeiou", "hour")
_CONSONANT_SOUND = ("uni", "euro", "ufo")


def with_article(phrase: str) -> str:
    """`phrase` with "a" or "an"."""
    vowel = phrase.startswith(_VOWEL_SOUND) and not phrase.startswith(_CONSONANT_SOUND)
    return ("an " if vowel else "a ") + phrase


def plural(name: str) -> str:
    """The plural of a noun phrase: its head before " of ", else its last word."""
    head, of, rest = name.partition(" of ")
    before, space, word = head.rpartition(" ")
    if word in _INVARIANT or word.endswith("fish"):
        many = word
    elif word in _IRREGULAR:
        many = _IRREGULAR[word]
    elif word.endswith(("s", "x", "z", "ch", "sh")):
        many = word + "es"
    elif word.endswith("y") and word[-2] not in "aeiou":
        many = word[:-1] + "ies"
    else:
        many = word + "s"
    return before + space + many + of + rest


def counted(count: int, name: str) -> str:
    """ "a cat", "two cats"."""
    return with_article(name) if count == 1 else f"{NUMBERS[count]} {plural(name)}"


def joined(parts: Sequence[str], word: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" {word} " + parts[-1]


def opened(opener: str, parts: str) -> str:
    """A list of objects after an opener; "there is" agrees with the first of them."""
    if opener == "there is " and not parts.startswith(("a ", "an ")):
        opener = "there are "
    return opener + parts


def in_relation(rng: Rng, a: str, relation: Relation, b: str, aside: bool) -> str:
    """ "a cat left of a tree", or `aside` "a tree with a cat to its left"."""
    if aside:
        return f"{b} with {a} {SIDE_PHRASES[relation]}"
    return f"{a} {rng.pick(RELATION_PHRASES[relation])} {b}"


def on_background(rng: Rng, parts: str, colour: str) -> str:
    """Objects on a background of a colour."""
    background = f"{with_article(colour)} background"
    return rng.pick(
        (f"{parts} on {background}", f"on {background}: {parts}", f"{parts} in front of {background}")
    )


# Wordings of the nine places; the first of each is the answer to "where".
PLACE_PHRASES: dict[GridCell, tuple[str, ...]] = {
    GridCell.TOP_LEFT: ("at the top left", "in the top left corner", "in the upper left"),
    GridCell.TOP: ("at the top", "at the top centre", "in the top middle"),
    GridCell.TOP_RIGHT: ("at the top right", "in the top right corner", "in the upper right"),
    GridCell.LEFT: ("on the left", "at the left", "on the left side"),
    GridCell.CENTRE: ("in the centre", "in the middle", "at the centre"),
    GridCell.RIGHT: ("on the right", "at the right", "on the right side"),
    GridCell.BOTTOM_LEFT: ("at the bottom left", "in the bottom left corner", "in the lower left"),
    GridCell.BOTTOM: ("at the bottom", "at the bottom centre", "in the bottom middle"),
    GridCell.BOTTOM_RIGHT: ("at the bottom right", "in the bottom right corner", "in the lower right"),
}

SIZE_WORDS: dict[Size, tuple[str, ...]] = {
    Size.SMALL: ("small", "little", "tiny"),
    Size.MEDIUM: ("medium", "mid-sized"),
    Size.LARGE: ("large", "big", "huge"),
}
