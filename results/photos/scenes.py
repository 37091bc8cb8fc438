"""Composed scenes of collected pictures, with captions, regions and twins, as the embedded world makes them.

    python scenes.py COLLECTED OUT [SHARDS]

Every shard draws another picture for each name. Three backgrounds in eight are photographs in the colour
that captions may name. Writes OUT/pretrain/scenes-*.tar and twins-*.tar; in OUT/tasks/retrieval
hard_validation.jsonl and hard.jsonl have four captions a scene, of which three have another relation,
place, size, count or background. The pictures of hard.jsonl are of the design that no training shows.
"""

import csv
import random
import sys
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from xfm.config.world import WorldConfig
from xfm.executors.executor import LocalPool
from xfm.world import palette
from xfm.world.catalog import ObjectType, load_objects
from xfm.world.render import Renderer
from xfm.world.scene import Scene, Split
from xfm.world.storage import to_json
from xfm.world.units import MAKERS, Catalog, Part, Unit, WorkerState

CONFIG = WorldConfig(image_size=224, scenes=1000, twins=1000, heldout_objects=0, heldout_pairs=0)
PHOTOGRAPHS = ("noise", "stripes", "dots")
LEAST_SIDE, MOST_ASPECT, SPRITE = 48, 3, 160


class OnPhotographs(Renderer):
    """Scenes of which some have a tinted photograph behind them."""

    def __init__(self, photographs: list[Path], seed: int) -> None:
        super().__init__(CONFIG.image_size, CONFIG.quality)
        self.photographs, self.random = photographs, random.Random(seed)

    def render(self, scene: Scene) -> np.ndarray:
        """See `Renderer.render`."""
        if scene.background.style in PHOTOGRAPHS:
            colour = np.array(palette.BACKGROUNDS[scene.background.colour][1], np.int16)
            with Image.open(self.random.choice(self.photographs)) as found:
                found.draft("L", (3 * self.image_size, 3 * self.image_size))
                cut = round(min(found.size) * self.random.uniform(0.5, 1.0))
                left, top = (self.random.randint(0, length - cut) for length in found.size)
                grey = found.convert("L").crop((left, top, left + cut, top + cut))
            grey = np.asarray(grey.resize((self.image_size, self.image_size)), np.int16)[..., None]
            key = (scene.background.colour, scene.background.style)
            self._backgrounds[key] = colour + (grey - int(grey.mean())) // 2
        return super().render(scene)


def objects_of(rows: list[dict[str, str]], collected: Path, seed: int) -> list[ObjectType]:
    """One object a name, each with one of its pictures."""
    rng, by_name = random.Random(seed), defaultdict(list)
    for row in rows:
        by_name[row["caption"]].append(row)
    made: list[ObjectType] = []
    for name in sorted(by_name):
        with Image.open(collected / rng.choice(by_name[name])["image"]) as found:
            picture = found.convert("RGBA")
        picture.thumbnail((SPRITE, SPRITE))
        sprite = np.array(picture)
        sprite[sprite[..., 3] < 48] = 0
        seen = np.flatnonzero(sprite[..., 3].any(1)), np.flatnonzero(sprite[..., 3].any(0))
        if any(len(places) < LEAST_SIDE for places in seen):
            continue
        sprite = sprite[seen[0][0] : seen[0][-1] + 1, seen[1][0] : seen[1][-1] + 1].copy()
        if max(sprite.shape[:2]) > MOST_ASPECT * min(sprite.shape[:2]):
            continue
        opaque = sprite[sprite[..., 3] > 200][:, :3]
        if len(opaque) < 100:
            continue
        shares, crowded = palette.measured(opaque)
        words = frozenset(name.split())
        colour = next((one for one in palette.COLOURS if one in words), None)
        made.append(ObjectType(len(made), name, name, "other", colour, shares, words, sprite, crowded))
    return made


def make(rows: list[dict[str, str]], photographs: list[Path], collected: Path, out: Path, unit: Unit) -> None:
    """A shard or task file; every fourth shard has the embedded world's own pictures."""
    studio = WorkerState(replace(CONFIG, objects=100), out)
    embedded = unit.split is Split.TRAIN and unit.index % 4 == 3
    objects = load_objects() if embedded else objects_of(rows, collected, unit.index)
    studio.catalog = Catalog(objects, 0, 0, CONFIG.seed)
    studio.renderer = OnPhotographs(photographs, unit.index)
    found = MAKERS[unit.part](studio, unit)
    if found.rows:
        (out / "tasks/retrieval").mkdir(parents=True, exist_ok=True)
        with (out / f"tasks/retrieval/{unit.split}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(to_json(row) + "\n" for row in found.rows)


def main(collected: Path, out: Path, shards: int) -> None:
    """Write shards and task files, with two processes."""
    with (collected / "pictures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    train = [row for row in rows if row["split"] == "train" and row["kind"] != "flag"]
    sources = defaultdict(set)
    for row in train:
        sources[row["caption"]].add(row["source"])
    named = {name for name in sources if len(sources[name]) > 1 and name.isascii() and name.count(" ") < 2}
    named |= {kind.name for kind in load_objects()}
    photographs = [
        collected / row["image"]
        for row in train
        if row["kind"] == "background" or row["source"] == "wallpapers"
    ]
    known = [row for row in train if row["caption"] in named and row["kind"] != "photo"]
    unseen = [row for row in rows if row["split"] == "test-emoji" and row["caption"] in named]
    for folder in ("pretrain", "tasks/images"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    units = [Unit(part, Split.TRAIN, n, 1000) for n in range(shards) for part in (Part.SCENES, Part.TWINS)]
    LocalPool(2).run(partial(make, known, photographs, collected, out), units, lambda *_: None)
    for rows, split in ((known, Split.HARD_VALIDATION), (unseen, Split.HARD)):
        make(rows, photographs, collected, out, Unit(Part.RETRIEVAL, split, 0, 1000))
    print(f"{len(named)} names, {len(units)} shards of 1,000 scenes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else 48)
