"""Units that make the task files: rows and their pictures."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

from xfm.world.captions import EDITS, caption, hard_caption
from xfm.world.catalog import ObjectType
from xfm.world.corpus import text_pairs
from xfm.world.names import OTHER
from xfm.world.phrases import RELATIONAL, refer
from xfm.world.questions import ask, how_many
from xfm.world.rng import Rng
from xfm.world.scene import Scene, SceneObject, SceneSampler, Split
from xfm.world.statements import absent_objects, absent_relations, statements
from xfm.world.twins import Edit
from xfm.world.units import (
    Maker,
    Part,
    Unit,
    UnitResult,
    WorkerState,
    make_scenes,
    make_singles,
    make_text,
    make_twins,
)

_RETRIEVAL_OBJECTS = ((2, 25), (3, 40), (4, 25), (5, 10))
_HELDOUT_OBJECTS = ((1, 15), (2, 45), (3, 40))
_CATEGORY_TEST = 4  # one object in so many is for the test


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
    """A scene with a caption that no other one has; of hard splits with distractors."""
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
        told = {} if any(row["caption"] == text for row in made.rows) else {"caption": text}
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
    """Statements about two pictures; the rows of one design stay in one split."""
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
    """Phrases with a picture that they are true of and one that they are not, of objects and relations."""
    design = absent_relations if len(made.rows) // 4 % 2 else absent_objects
    scenes, phrases, kind = design(rng, sampler)
    return [
        ((scene,), {"phrase": phrase, "present": number == place, "kind": kind})
        for number, scene in enumerate(scenes)
        for place, phrase in enumerate(phrases)
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
