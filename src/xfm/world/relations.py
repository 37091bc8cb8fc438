"""Spatial relations with a clear margin: `holds` and `excluded` leave a band between that no text uses."""

from enum import IntEnum

from xfm.world.scene import Place, SceneObject


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
    if relation is Relation.LEFT:
        return -dx, abs(dy)
    if relation is Relation.RIGHT:
        return dx, abs(dy)
    return (-dy, abs(dx)) if relation is Relation.ABOVE else (dy, abs(dx))


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


def places_differ(a: Place, b: Place) -> bool:
    """Whether the words of two places contradict each other ("top" does not contradict "top left")."""
    first, second = set(a.words.split()), set(b.words.split())
    return not (first <= second or second <= first)
