"""Units of work: a shard or a slice of a task file each, which depends on seed and index only."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from xfm.config.world import WorldConfig
from xfm.world.captions import EDITS, caption, captions, hard_caption
from xfm.world.catalog import Catalog, ObjectType, load_objects, package_folder
from xfm.world.facts import change, describe, wording
from xfm.world.grammar import joined, plural, with_article
from xfm.world.names import OTHER
from xfm.world.phrases import RELATIONAL, refer, regions
from xfm.world.questions import ask, how_many
from xfm.world.render import Renderer
from xfm.world.rng import Rng
from xfm.world.scene import Scene, SceneObject, SceneSampler, Split
from xfm.world.statements import absent_objects, absent_relations, statements
from xfm.world.storage import ShardWriter, to_json
from xfm.world.twins import Edit, draw_twins

CAPTIONS = 4
# Objects per scene of the pre-training shards, with weights.
OBJECTS = ((1, 8), (2, 28), (3, 30), (4, 21), (5, 13))
_RETRIEVAL_OBJECTS = ((2, 25), (3, 40), (4, 25), (5, 10))
_HELDOUT_OBJECTS = ((1, 15), (2, 45), (3, 40))
_TOLD_OBJECTS = ((1, 8), (2, 32), (3, 35), (4, 20), (5, 5))
_LONGEST_FACT = 160  # characters
_CATEGORY_TEST = 4  # one object in so many is for the test


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
    """Rows of a task file, tokenizer texts, name and SHA-256 of pictures, and captions so far of a unit."""

    unit: Unit
    rows: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    captions: set[str] = field(default_factory=set)


class WorkerState:
    """Shared state of the units of a process."""

    def __init__(self, config: WorldConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        objects = load_objects(config.objects)
        self.catalog = Catalog(objects, config.heldout_objects, config.heldout_pairs, config.seed)
        self.renderer = Renderer(config.image_size, config.quality)
        self._samplers: dict[Split, SceneSampler] = {}

    def rng(self, unit: Unit) -> Rng:
        """The unit's random stream."""
        return Rng(self.config.seed, unit.part, unit.split, unit.index)

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
    """Lines of plain text, of one to four sentences; some are short facts of `randfacts` in plain ASCII."""
    rng, path = studio.rng(unit), package_folder("randfacts") / "safe.txt"
    told = (" ".join(line.lower().split()) for line in path.read_text("utf-8").splitlines())
    facts = [fact for fact in told if fact.isascii() and 20 <= len(fact) <= _LONGEST_FACT]
    lines = [{"text": _text_line(rng, studio.sampler(), facts)} for _ in range(unit.rows)]
    return UnitResult(unit, lines)


def _text_line(rng: Rng, sampler: SceneSampler, facts: Sequence[str]) -> str:
    catalog = sampler.catalog
    pick = rng.below(100)
    if pick < 15:
        return rng.pick(facts)
    if pick < 20:
        # Half of these lines are about held-out objects.
        kind = rng.pick(catalog.heldout if rng.chance(50) and catalog.heldout else catalog.objects)
        lines = []
        if kind.category != OTHER:
            others = [o for o in catalog.objects if o.category == kind.category and o is not kind]
            peers = joined([with_article(o.name) for o in rng.sample(others, 2)])
            group = {"animal": "an animal", "clothing": "clothing", "food": "food"}.get(
                kind.category, with_article(kind.category)
            )
            lines.append(f"{with_article(kind.name)} is {group}, like {peers}.")
        if kind.colour and not kind.colour_in_name:
            lines.append(f"{plural(kind.name)} are {kind.colour}.")
        lines.append(f"one {kind.name}, two {plural(kind.name)}.")
        return " ".join(rng.sample(lines, 2))
    # Held-out objects occur in text, among the others.
    pool = catalog.objects if rng.chance(15) else catalog.seen
    scene = sampler.place(rng, sampler.choose(rng, rng.weighted(_TOLD_OBJECTS), pool=pool))
    if pick < 55 and rng.chance(50):
        return f"{caption(rng, scene)}. {caption(rng, scene)}."
    told = describe(rng, scene)
    if pick < 55:
        return f"{wording(rng, told)}. {wording(rng, told)}."
    # No false fact and no label: whether a fact follows is what entailment tests.
    states = [change(rng, told, catalog, pool)[1] for _ in range(2)]
    return f"{wording(rng, told)}. " + " ".join(f"{state(rng, told)}." for state in states)


# ---------------------------------------------------------------- task files
Shown = tuple[tuple[Scene, ...], dict[str, Any]]
"""The scenes of a row, and its other fields."""


def _made(
    draw: Callable[[WorkerState, UnitResult, Rng, SceneSampler], list[Shown]], studio: WorkerState, unit: Unit
) -> UnitResult:
    """The rows of a task file, as many as are wanted of those that are drawn, with their pictures."""
    rng, made, sampler = studio.rng(unit), UnitResult(unit), studio.sampler(unit.split)
    while len(made.rows) < unit.rows:
        saved = dict[int, str]()
        for scenes, row in draw(studio, made, rng, sampler)[: unit.rows - len(made.rows)]:
            for scene in scenes:
                if id(scene) not in saved:
                    saved[id(scene)] = studio.save(made, scene)
            paths = [saved[id(scene)] for scene in scenes]
            made.rows.append(({"image": paths[0]} if len(paths) == 1 else {"images": paths}) | row)
    return made


def _retrieval(studio: WorkerState, made: UnitResult, rng: Rng, sampler: SceneSampler) -> list[Shown]:
    if made.unit.split in (Split.HARD, Split.HARD_VALIDATION):
        edit = EDITS[len(made.rows) % len(EDITS)]
        kinds = sampler.choose(rng, rng.pick((2, 3, 3, 4)), repeat=100 if edit is Edit.COUNT else 0)
        if not studio.catalog.reserved(kinds):
            return []
        scene = sampler.place(rng, kinds)
        hard = hard_caption(rng, scene, edit)
        told = {} if hard is None else {"caption": hard[0], "distractors": hard[1], "edit": edit.value}
    else:
        sizes = _HELDOUT_OBJECTS if made.unit.split is Split.OBJECTS else _RETRIEVAL_OBJECTS
        scene = sampler.place(rng, sampler.choose(rng, rng.weighted(sizes)))
        text = caption(rng, scene)
        told = {} if text in made.captions else {"caption": text}
        made.captions.add(text)
    return [((scene,), told)] if told else []


def _vqa(studio: WorkerState, made: UnitResult, rng: Rng, sampler: SceneSampler) -> list[Shown]:
    """Two questions a scene; two scenes in five are made for counting, others hold an answerable object."""
    catalog = studio.catalog
    if rng.chance(40):
        target, kind = rng.below(4), sampler.kind(rng)
        while True:
            kinds = sampler.choose(rng, max(target + rng.below(3), 2), [kind] * target)
            if not any(catalog.confusable(kind, other) for other in kinds[target:]):
                break
        scene = sampler.place(rng, kinds)
        counting = how_many(rng, scene, None if rng.chance(12) else kind)
        asked = [counting, *ask(rng, scene, catalog, 1)]
    else:
        count = rng.weighted(_RETRIEVAL_OBJECTS)
        kinds = sampler.choose(rng, count, [rng.pick(catalog.answerable)], repeat=35)
        scene = sampler.place(rng, kinds)
        asked = ask(rng, scene, catalog, 2)
    return [((scene,), {"question": q.question, "answer": q.answer, "kind": q.kind.value}) for q in asked]


def _reasoning(studio: WorkerState, made: UnitResult, rng: Rng, sampler: SceneSampler) -> list[Shown]:
    rows = statements(rng, sampler)
    return [((row.left, row.right), {"text": row.text, "label": row.label}) for row in rows]


def _grounding(studio: WorkerState, made: UnitResult, rng: Rng, sampler: SceneSampler) -> list[Shown]:
    """Referring phrases, up to two a scene; in three of five scenes one kind occurs several times."""
    train, found = made.unit.split is Split.TRAIN, dict[str, SceneObject]()
    count = rng.weighted(((3, 25), (4, 45), (5, 30))) if train else rng.pick((4, 4, 5))
    scene = sampler.place(rng, sampler.choose(rng, count, repeat=60))
    for _ in range(4):
        repeated = [o for o in scene.objects if scene.count(o.kind) > 1]
        item = rng.pick(repeated if repeated and rng.chance(60) else scene.objects)
        ways = RELATIONAL if item in repeated and rng.chance(70) else None
        phrase = refer(rng, scene, item, ways, generic=8)
        if phrase is not None:
            found.setdefault(phrase, item)
        if len(found) == min(2, made.unit.rows - len(made.rows)):
            break
    return [((scene,), {"phrase": phrase, "box": item.box}) for phrase, item in found.items()]


def _absence(studio: WorkerState, made: UnitResult, rng: Rng, sampler: SceneSampler) -> list[Shown]:
    design = absent_relations if len(made.rows) // 4 % 2 else absent_objects
    scenes, phrases, kind = design(rng, sampler)
    return [
        ((scene,), {"phrase": phrase, "present": number == place, "kind": kind})
        for number, scene in enumerate(scenes)
        for place, phrase in enumerate(phrases)
    ]


def text_pairs(rng: Rng, scene: Scene, catalog: Catalog, entailment: bool) -> list[dict[str, Any]]:
    """Four rows of two texts, and whether the pair is a positive one. The second text is a statement that
    follows from the first or does not; else a description that says the same in other words or differs in one
    fact."""
    told = describe(rng, scene)
    changed, state = change(rng, told, catalog, catalog.seen)
    first = [wording(rng, one) for one in (told, changed)]
    second = [(state if entailment else wording)(rng, one) for one in (told, changed)]
    if not entailment and set(first) & set(second):  # the same wording twice: draw again
        return text_pairs(rng, scene, catalog, entailment)
    return [
        {"text_a": a, "text_b": b, "label": i == j} for i, a in enumerate(first) for j, b in enumerate(second)
    ]


def make_pairs(studio: WorkerState, unit: Unit) -> UnitResult:
    """Pairs of texts for entailment and paraphrase."""
    rng, made, sampler = studio.rng(unit), UnitResult(unit), studio.sampler(unit.split)
    while len(made.rows) < unit.rows:
        scene = sampler.place(rng, sampler.choose(rng, rng.weighted(((2, 35), (3, 45), (4, 20)))))
        pairs = text_pairs(rng, scene, studio.catalog, unit.part is Part.ENTAILMENT)
        made.rows += pairs[: unit.rows - len(made.rows)]
    # Quadruples must not stand together in a batch, nor reveal themselves by their order.
    made.rows = rng.shuffled(made.rows)
    return made


def make_category(studio: WorkerState, unit: Unit) -> UnitResult:
    """Pictures of single objects, categories equally often; the test's objects do not occur in train."""
    rng, made, sampler = studio.rng(unit), UnitResult(unit), studio.sampler()
    wanted = unit.split is Split.TEST
    by_category: dict[str, list[ObjectType]] = {}
    for kind in studio.catalog.seen:
        digest = hashlib.sha256(f"{studio.config.seed}/category/{kind.code}".encode()).digest()
        if kind.category != OTHER and (digest[0] % _CATEGORY_TEST == 0) == wanted:
            by_category.setdefault(kind.category, []).append(kind)
    names = sorted(by_category)
    for i in range(unit.rows):
        label = names[i % len(names)]
        kind = rng.pick(by_category[label])
        scene = sampler.place(rng, [kind])
        made.rows.append({"image": studio.save(made, scene), "label": label, "object": kind.name})
    return made


def make_masked_token(studio: WorkerState, unit: Unit) -> UnitResult:
    """Captions with their picture and a picture of other objects."""
    rng, made, sampler = studio.rng(unit), UnitResult(unit), studio.sampler(unit.split)
    scenes = [
        sampler.place(rng, sampler.choose(rng, rng.weighted(_RETRIEVAL_OBJECTS))) for _ in range(unit.rows)
    ]
    images = [studio.save(made, scene) for scene in scenes]
    for i, scene in enumerate(scenes):
        wrong = next(
            j % len(scenes)
            for j in range(i + 1, i + len(scenes) + 1)
            if not scene.groups.keys() & scenes[j % len(scenes)].groups.keys()
        )
        row = {"image": images[i], "caption": caption(rng, scene), "wrong_image": images[wrong]}
        made.rows.append(row)
    return made


MAKERS: dict[Part, Maker] = {
    Part.SCENES: make_scenes,
    Part.SINGLES: make_singles,
    Part.TWINS: make_twins,
    Part.PICTURES: make_singles,
    Part.TEXT: make_text,
    Part.RETRIEVAL: partial(_made, _retrieval),
    Part.VQA: partial(_made, _vqa),
    Part.REASONING: partial(_made, _reasoning),
    Part.GROUNDING: partial(_made, _grounding),
    Part.ENTAILMENT: make_pairs,
    Part.PARAPHRASE: make_pairs,
    Part.CATEGORY: make_category,
    Part.MASKED_TOKEN: make_masked_token,
    Part.ABSENCE: partial(_made, _absence),
}
