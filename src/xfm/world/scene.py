"""Scene graphs (which objects, how large, where, on what background; integers only), and kinds of a split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from functools import cached_property

from xfm.world.catalog import Catalog, ObjectType
from xfm.world.palette import BACKGROUNDS
from xfm.world.rng import Rng


class GridCell(IntEnum):
    """The ninth of the picture that holds a box's centre, row by row."""

    TOP_LEFT, TOP, TOP_RIGHT, LEFT, CENTRE, RIGHT, BOTTOM_LEFT, BOTTOM, BOTTOM_RIGHT = range(9)

    @property
    def words(self) -> str:
        """The closed vocabulary's name: "top left", "centre", ..."""
        return self.name.lower().replace("_", " ")


class Size(IntEnum):
    """Length of the longer side of an object's box; see SIDES."""

    SMALL, MEDIUM, LARGE = range(3)


# Longer side in 96ths of the picture's side, with gaps between the sizes.
SIDES: dict[Size, tuple[int, ...]] = {
    Size.SMALL: (20, 21, 22),
    Size.MEDIUM: (29, 30, 32),
    Size.LARGE: (40, 43, 45),
}

# Weights of the sizes in a scene of one or two objects, and of more.
_SIZES = ((Size.SMALL, 30), (Size.MEDIUM, 38), (Size.LARGE, 32))
_SIZES_OF_MANY = ((Size.SMALL, 42), (Size.MEDIUM, 48), (Size.LARGE, 10))

# Styles of a background; render.py draws them.
STYLES = ("plain", "plain", "down", "right", "diagonal", "noise", "stripes", "dots")


@dataclass(frozen=True, slots=True)
class Background:
    """A background: index into palette.BACKGROUNDS, name of the style, and shift of the brightness."""

    colour: int
    style: str
    shift: int

    @property
    def name(self) -> str:
        """The name of its colour."""
        return BACKGROUNDS[self.colour][0]


@dataclass(frozen=True, slots=True, eq=False)
class SceneObject:
    """An object in a scene; the box is (left, top, width, height) in pixels. Compared by identity."""

    kind: ObjectType
    size: Size
    left: int
    top: int
    width: int
    height: int
    place: GridCell

    @property
    def name(self) -> str:
        """The object's name."""
        return self.kind.name

    @property
    def x2(self) -> int:
        """Twice the x of the box's centre."""
        return 2 * self.left + self.width

    @property
    def y2(self) -> int:
        """Twice the y of the box's centre."""
        return 2 * self.top + self.height

    def wanted(self, size: Size | None = None, place: GridCell | None = None) -> "ObjectSpec":
        """One of its kind, in another size or place if given."""
        return self.kind, self.size if size is None else size, self.place if place is None else place

    @property
    def box(self) -> list[int]:
        """Left, top, width, height in pixels."""
        return [self.left, self.top, self.width, self.height]


@dataclass(frozen=True)
class Scene:
    """A scene graph. `objects` are in drawing order, which carries no meaning."""

    objects: tuple[SceneObject, ...]
    background: Background
    image_size: int

    @cached_property
    def groups(self) -> dict[ObjectType, list[SceneObject]]:
        """The objects by kind, in drawing order."""
        groups: dict[ObjectType, list[SceneObject]] = {}
        for item in self.objects:
            groups.setdefault(item.kind, []).append(item)
        return groups

    @cached_property
    def singles(self) -> list[SceneObject]:
        """The objects that are the only ones of their kind."""
        return [members[0] for members in self.groups.values() if len(members) == 1]

    def count(self, kind: ObjectType) -> int:
        """How many objects of `kind`."""
        return len(self.groups.get(kind, ()))


ObjectSpec = tuple[ObjectType, Size, GridCell]
"""An object that a scene shall hold: what, how large, where."""


class Split(StrEnum):
    """Splits of the task files. combinations hold a held-out pair of objects, objects only held-out ones,
    hard and hard_validation sets of kinds that no twins show; the others seen objects in allowed
    combinations, in scenes of their own."""

    TRAIN = "train"
    VALIDATION = "validation"
    SEEN = "seen"
    TEST = "test"
    HARD = "hard"
    HARD_VALIDATION = "hard_validation"
    COMBINATIONS = "combinations"
    OBJECTS = "objects"


class SceneSampler:
    """Draws the scene graphs of a split: chooses objects, sizes, places and a background."""

    def __init__(self, catalog: Catalog, image_size: int, split: Split = Split.TRAIN) -> None:
        self.catalog, self.image_size, self.split = catalog, image_size, split
        # A centre keeps this distance from the borders between the nine places.
        self._clear = max(1, image_size // 48)
        self.pool = catalog.heldout if split is Split.OBJECTS else catalog.seen
        self.least = 2 if split is Split.COMBINATIONS else 1
        if split is Split.COMBINATIONS:
            partners = [(kind, catalog.heldout_partners(kind)) for kind in catalog.seen]
            self._partners = {kind: found for kind, found in partners if found}
            self.pool = tuple(self._partners)

    def kind(self, rng: Rng) -> ObjectType:
        """One kind of the split."""
        return rng.pick(self.pool)

    def pair(self, rng: Rng) -> tuple[ObjectType, ObjectType]:
        """Two different kinds that a scene of the split may show together."""
        first = self.kind(rng)
        if self.split is Split.COMBINATIONS:
            return first, rng.pick(self._partners[first])
        while True:
            second = self.kind(rng)
            if second is not first and self.catalog.compatible(first, second):
                return first, second

    def choose(
        self,
        rng: Rng,
        count: int,
        start: Sequence[ObjectType] = (),
        repeat: int = 25,
        pool: Sequence[ObjectType] | None = None,
    ) -> list[ObjectType]:
        """`count` kinds, with `start` first (whose pairs are not checked); combinations hold a held-out pair.
        `repeat` is the percentage of scenes in which a drawn kind occurs two or three times."""
        chosen = list(start)
        if self.split is Split.COMBINATIONS and len(set(chosen)) < 2:
            chosen = chosen or [self.kind(rng)]
            chosen.append(rng.pick(self._partners[chosen[0]]))
        given = len(chosen)
        free = max(0, count - given)
        extra = min(free - 1, rng.weighted(((1, 70), (2, 30)))) if free >= 2 and rng.chance(repeat) else 0
        while len(chosen) < given + free - extra:
            kind = rng.pick(self.pool if pool is None else pool)
            if all(self.catalog.compatible(kind, other) for other in chosen):
                chosen.append(kind)
        return chosen + [rng.pick(chosen[given:])] * extra if extra else chosen

    def scene(
        self, rng: Rng, start: list[ObjectType], without: ObjectType | None = None, count: int = 0
    ) -> Scene:
        """A scene of `count` objects with `start` and nothing else whose name clashes with `without`."""
        least = max(self.least, len(start) + self.least - 1)
        while True:
            drawn = self.choose(rng, count or max(least, rng.weighted(((1, 15), (2, 45), (3, 40)))), start)
            if without is None or not any(self.catalog.confusable(without, k) for k in drawn[len(start) :]):
                return self.place(rng, drawn)

    def place(self, rng: Rng, kinds: Sequence[ObjectType]) -> Scene:
        """A scene of these object types: random sizes, clear places, boxes that do not touch."""
        for attempt in range(40):
            count = len(kinds)
            sizes = [Size.SMALL] * count
            if attempt <= 20:
                weights = _SIZES if count < 3 else _SIZES_OF_MANY
                sizes = sorted((rng.weighted(weights) for _ in range(count)), reverse=True)
                allowed = 2 if count <= 2 else 1
                sizes = [Size.MEDIUM if s is Size.LARGE and i >= allowed else s for i, s in enumerate(sizes)]
            cells, placed = rng.shuffled(tuple(GridCell)), list[SceneObject]()
            for kind, size in zip(rng.shuffled(kinds), sizes, strict=True):
                found = self._fitted(rng, kind, size, cells, placed)
                if found is None:
                    break
                placed.append(found)
                cells.remove(found.place)
            else:
                choices = self.catalog.backgrounds_for(kinds)
                background = Background(rng.pick(choices), rng.pick(STYLES), rng.below(17) - 8)
                return Scene(tuple(placed), background, self.image_size)
        raise RuntimeError(f"no room for {len(kinds)} objects")  # five small boxes always fit in nine cells

    def edited(
        self, rng: Rng, scene: Scene, gone: Sequence[SceneObject], new: Sequence[ObjectSpec]
    ) -> Scene | None:
        """The scene without `gone` and with new objects, else unchanged to the pixel; None without room."""
        placed = [item for item in scene.objects if item not in gone]
        for kind, size, place in new:
            found = self._fitted(rng, kind, size, [place], placed, tries=12)
            if found is None:
                return None
            placed.append(found)
        return replace(scene, objects=tuple(placed))

    def _fitted(
        self,
        rng: Rng,
        kind: ObjectType,
        size: Size,
        cells: Sequence[GridCell],
        placed: Sequence[SceneObject],
        tries: int = 3,
    ) -> SceneObject | None:
        side = rng.pick(SIDES[size]) * self.image_size // 96
        width, height = kind.scaled(side)
        for cell in cells:
            for _ in range(tries):
                left = self._position(rng, width, cell % 3)
                top = self._position(rng, height, cell // 3)
                if all(_apart(left, top, width, height, other) for other in placed):
                    return SceneObject(kind, size, left, top, width, height, cell)
        return None

    def _position(self, rng: Rng, length: int, third: int) -> int:
        side, clear = self.image_size, self._clear
        # Bounds of twice the centre, then of the start.
        low = 0 if third == 0 else 2 * (side * third // 3 + clear)
        high = 2 * side if third == 2 else 2 * (side * (third + 1) // 3 - clear)
        first = max(1, -((length - low) // 2))
        last = min(side - length - 1, (high - length) // 2)
        return first + rng.below(max(1, last - first + 1))


def _apart(left: int, top: int, width: int, height: int, other: SceneObject, gap: int = 1) -> bool:
    return (
        left >= other.left + other.width + gap
        or other.left >= left + width + gap
        or top >= other.top + other.height + gap
        or other.top >= top + height + gap
    )
