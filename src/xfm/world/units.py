"""Units of work: a shard or a slice of a task file each, which depends on seed and index only."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from xfm.config.world import WorldConfig
from xfm.world.captions import captions
from xfm.world.catalog import Catalog, ObjectType, load_objects
from xfm.world.corpus import load_facts, text_line
from xfm.world.phrases import regions
from xfm.world.render import Renderer
from xfm.world.rng import Rng
from xfm.world.scene import Scene, SceneSampler, Split
from xfm.world.storage import ShardWriter, to_json
from xfm.world.twins import draw_twins

CAPTIONS = 4
# Objects per scene of the pre-training shards, with weights.
OBJECTS = ((1, 8), (2, 28), (3, 30), (4, 21), (5, 13))


class Part(StrEnum):
    """Product of a unit; the value begins its random stream and file names."""

    SCENES = "scenes"
    SINGLES = "singles"
    PICTURES = "pictures"
    TWINS = "twins"
    TEXT = "text"
    RETRIEVAL = "retrieval"
    VQA = "vqa"
    REASONING = "reasoning"
    GROUNDING = "grounding"
    ENTAILMENT = "entailment"
    PARAPHRASE = "paraphrase"
    CATEGORY = "category"
    MASKED_TOKEN = "masked_token"
    ABSENCE = "absence"


@dataclass(frozen=True)
class Unit:
    """Part, split (TRAIN for pre-training data), number of the shard or slice, and records of a unit."""

    part: Part
    split: Split
    index: int
    rows: int


@dataclass
class UnitResult:
    """Rows of a task file, tokenizer texts, and name and SHA-256 of pictures of a unit."""

    unit: Unit
    rows: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)


class WorkerState:
    """Shared state of the units of a process."""

    def __init__(self, config: WorldConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        objects = load_objects(config.objects)
        self.catalog = Catalog(objects, config.heldout_objects, config.heldout_pairs, config.seed)
        self.renderer = Renderer(config.image_size, config.quality)
        self._samplers: dict[Split, SceneSampler] = {}

    def rng(self, unit: Unit, *more: int) -> Rng:
        """The unit's random stream."""
        return Rng(self.config.seed, unit.part, unit.split, unit.index, *more)

    def sampler(self, split: Split = Split.TRAIN) -> SceneSampler:
        """Scenes of a split."""
        if split not in self._samplers:
            self._samplers[split] = SceneSampler(self.catalog, self.config.image_size, split)
        return self._samplers[split]

    def save(self, made: UnitResult, scene: Scene) -> str:
        """Write a task picture; its path relative to the JSON-lines file."""
        unit = made.unit
        name = f"{unit.part}-{unit.split}-{unit.index:02d}-{len(made.pictures):04d}.jpg"
        data = self.renderer.encode(scene)
        (self.folder / "tasks" / "images" / name).write_bytes(data)
        made.pictures.append((name, hashlib.sha256(data).hexdigest()))
        return f"../images/{name}"


Maker = Callable[[WorkerState, Unit], UnitResult]


def annotation(rng: Rng, scene: Scene) -> dict[str, Any]:
    """Captions and regions of a scene as the region format's JSON."""
    return {
        "captions": captions(rng, scene, CAPTIONS),
        "regions": [{"phrase": phrase, "box": item.box} for phrase, item in regions(rng, scene)],
    }


def _shard(
    studio: WorkerState, unit: Unit, records: Iterable[tuple[Scene, dict[str, Any] | None]]
) -> UnitResult:
    made = UnitResult(unit)
    with ShardWriter(studio.folder / "pretrain" / f"{unit.part}-{unit.index:05d}.tar") as shard:
        for number, (scene, record) in enumerate(records):
            key = f"{unit.part}-{unit.index:05d}-{number:05d}"
            shard.write(f"{key}.jpg", studio.renderer.encode(scene))
            if record is not None:
                shard.write(f"{key}.json", to_json(record).encode())
                made.texts += record["captions"][:2] + [r["phrase"] for r in record.get("regions", ())]
    return made


def make_scenes(studio: WorkerState, unit: Unit) -> UnitResult:
    """A shard of scenes of one to five objects."""
    rng, sampler = studio.rng(unit), studio.sampler()
    scenes = (sampler.place(rng, sampler.choose(rng, rng.weighted(OBJECTS))) for _ in range(unit.rows))
    return _shard(studio, unit, ((scene, annotation(rng, scene)) for scene in scenes))


def make_singles(studio: WorkerState, unit: Unit) -> UnitResult:
    """A shard of scenes of one object, as PICTURES without text; consecutive pictures go through all kinds in
    random order."""
    rng, told = studio.rng(unit), unit.part is Part.SINGLES
    scenes = _round(studio, unit, rng)
    return _shard(studio, unit, ((scene, annotation(rng, scene) if told else None) for scene in scenes))


def _round(studio: WorkerState, unit: Unit, rng: Rng) -> Iterator[Scene]:
    """Scenes of one object, of all kinds in turn, in another order each time."""
    kinds, first = studio.catalog.seen, unit.index * studio.config.shard_size
    lap, order = -1, list[ObjectType]()
    for position in range(first, first + unit.rows):
        if position // len(kinds) != lap:
            lap = position // len(kinds)
            order = Rng(studio.config.seed, unit.part, "round", lap).shuffled(kinds)
        yield studio.sampler().place(rng, [order[position % len(kinds)]])


def make_twins(studio: WorkerState, unit: Unit) -> UnitResult:
    """A shard of twin scenes with captions, one after the other; `unit.rows` counts both."""
    rng, sampler, whole = studio.rng(unit), studio.sampler(), studio.config.whole_captions
    twins = (draw_twins(sampler, rng, whole) for _ in range(0, unit.rows, 2))
    pairs = (pair for _, scenes, told in twins for pair in zip(scenes, told, strict=True))
    return _shard(studio, unit, ((scene, {"captions": texts}) for scene, texts in pairs))


def make_text(studio: WorkerState, unit: Unit) -> UnitResult:
    """Lines of plain text."""
    rng, facts = studio.rng(unit), load_facts()
    lines = [{"text": text_line(rng, studio.sampler(), facts)} for _ in range(unit.rows)]
    return UnitResult(unit, lines)
