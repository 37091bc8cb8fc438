"""Builds a world: plans units, runs them in processes, writes the files, and puts the folder in place."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.config.plain import first_difference
from xfm.config.world import WorldConfig
from xfm.core.errors import UserError
from xfm.core.files import drafting, file_digest, replace_folder, write_text, writing
from xfm.core.locks import locked
from xfm.core.processes import cores
from xfm.executors.executor import LocalPool
from xfm.world.catalog import ART_LICENCE, package_versions
from xfm.world.scene import Split
from xfm.world.storage import FORMAT, NAME, WorldManifest, fingerprint, require_own, to_json
from xfm.world.units import MAKERS, Part, Unit, UnitResult, WorkerState

IN_PROCESS = 2000  # fewer records than this are made in this process: others take a second to start
_FACTS_LICENCE = "randfacts, MIT licence"

TEXT_SLICE = 5000  # lines per unit
TASK_SLICE = 1000  # rows per unit
PRETRAINED = (Part.SCENES, Part.SINGLES, Part.TWINS, Part.PICTURES, Part.TEXT)
VALIDATED = tuple(part for part in Part if part not in (*PRETRAINED, Part.CATEGORY))
_LEARNED = {
    Part.TEXT: "text", Part.VQA: "question", Part.REASONING: "text", Part.GROUNDING: "phrase",
    Part.ENTAILMENT: "text_b", Part.PARAPHRASE: "text_b",
}  # fmt: skip
"""What the tokenizer learns of the rows that models are trained on."""
_TOLD = "name", "category", "colour", "code"
CONTENT = ("tasks", "pretrain", "tokenizer.json")
"""What a world's folder holds beside its manifest."""


def build_world(
    folder: Path, config: WorldConfig, progress: bool = True, force: bool = False
) -> WorldManifest:
    """Build the embedded world in `folder`, or keep an equal one; its manifest. The world appears when
    everything is written; until then, and after an interruption, `folder` is unchanged. `force` replaces a
    world of other settings. UserError where a package of the `world` extra is missing, `folder` holds
    something else, or cannot be written."""
    resolved = config.resolved()
    packages = package_versions()
    mark = fingerprint(resolved, packages)
    with (
        locked(folder, beside=True),
        writing(folder, "or lower world.scale; what was there before is unchanged"),
    ):
        present = None
        with suppress(UserError):  # none, damaged, or of an earlier format: built again
            present = WorldManifest.load(folder)
        if present is not None and present.fingerprint == mark and not present.missing(folder):
            if progress:
                print(f"The world in {folder} is up to date: nothing to build.")
            return present
        if require_own(folder, NAME, CONTENT, "world") and present is not None and not force:
            difference = first_difference(present.config, asdict(resolved), frozenset({"workers"}))
            if difference is not None:
                name, old, new = difference
                raise UserError(
                    f"{folder} holds a world with {name} {old}, not {new}: choose another folder, or replace "
                    "it with `xfm prepare --force` and these settings."
                )
        with drafting(folder) as draft:
            (draft / "tasks" / "images").mkdir(parents=True)
            manifest = _fill(draft, resolved, packages, mark, progress)
            replace_folder(draft, folder)
    return manifest


# ---------------------------------------------------------------- units
def plan(config: WorldConfig) -> list[Unit]:
    """All units of a resolved configuration, the longest first."""
    tasks, train, tests = config.tasks, Split.TRAIN, (Split.SEEN, Split.COMBINATIONS)
    shards = (Part.SCENES, Part.SINGLES, Part.TWINS, Part.PICTURES)
    rows: list[tuple[Part, Split, int, int]] = [
        *((part, train, getattr(config, part), config.shard_size) for part in shards),
        (Part.TEXT, train, config.text_lines, TEXT_SLICE),
        # The captions of a retrieval split are distinct: one unit makes them all.
        *((Part.RETRIEVAL, split, tasks.retrieval, 10**9) for split in (*tests, Split.OBJECTS)),
        (Part.RETRIEVAL, Split.HARD, tasks.hard, TASK_SLICE),
        (Part.RETRIEVAL, Split.HARD_VALIDATION, tasks.validation, TASK_SLICE),
    ]
    for part in (Part.VQA, Part.REASONING, Part.GROUNDING, Part.ENTAILMENT, Part.PARAPHRASE, Part.CATEGORY):
        pictured = part in (Part.VQA, Part.REASONING, Part.GROUNDING)
        rows.append((part, train, getattr(tasks, f"{part}_train"), TASK_SLICE))
        tested = getattr(tasks, f"{part}_test")
        rows += [(part, split, tested, TASK_SLICE) for split in (tests if pictured else (Split.TEST,))]
    rows.append((Part.MASKED_TOKEN, Split.TEST, tasks.masked_token, 10**9))
    rows.append((Part.ABSENCE, Split.TEST, tasks.absence, TASK_SLICE))
    # One unit each: the captions of a retrieval split are distinct, wrong pictures are another row's.
    rows += [(part, Split.VALIDATION, tasks.validation, 10**9) for part in VALIDATED]
    return [
        Unit(part, split, index, min(size, total - index * size))
        for part, split, total, size in rows
        for index in range(-(-total // size))
    ]


@lru_cache(maxsize=1)
def _studio(config: WorldConfig, folder: Path) -> WorkerState:
    return WorkerState(config, folder)


def _make(config: WorldConfig, folder: Path, unit: Unit) -> UnitResult:
    return MAKERS[unit.part](_studio(config, folder), unit)


def _made(config: WorldConfig, folder: Path, progress: bool) -> list[UnitResult]:
    units = plan(config)
    total = sum(unit.rows for unit in units)
    workers = 1 if total < IN_PROCESS else config.workers or min(8, cores())
    made: dict[Unit, UnitResult] = {}
    with tqdm(
        total=total, unit="record", unit_scale=True, desc="building the world", disable=not progress
    ) as bar:

        def done(unit: Unit, result: UnitResult) -> None:
            made[unit] = result
            bar.update(unit.rows)

        LocalPool(workers).run(partial(_make, config, folder), units, done)
    return [made[unit] for unit in units]


# ---------------------------------------------------------------- the files
def _fill(
    draft: Path, config: WorldConfig, packages: dict[str, str], mark: str, progress: bool
) -> WorldManifest:
    made, catalog = _made(config, draft, progress), _studio(config, draft).catalog
    _studio.cache_clear()
    counts: dict[str, int] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for result in made:
        unit = result.unit
        task = unit.split is not Split.TRAIN or unit.part not in PRETRAINED
        name = f"tasks/{unit.part}/{unit.split}" if task else f"pretrain/{unit.part}"
        counts[name] = counts.get(name, 0) + (len(result.rows) or unit.rows)
        if result.rows:
            rows.setdefault(f"{name}.jsonl", []).extend(result.rows)
    for name, records in rows.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        with (draft / name).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(to_json(record) + "\n" for record in records)
    _train_tokenizer(draft, made, config.vocab_size)
    pictures = sorted(entry for result in made for entry in result.pictures)
    manifest = WorldManifest(
        format=FORMAT,
        fingerprint=mark,
        seed=config.seed,
        image_size=config.image_size,
        config=asdict(replace(config, workers=0)),  # the same world whatever built it
        packages=packages,
        licences={"pictures": ART_LICENCE, "facts": _FACTS_LICENCE},
        objects={
            split: [{name: getattr(kind, name) for name in _TOLD} for kind in kinds]
            for split, kinds in (("seen", catalog.seen), ("heldout", catalog.heldout))
        },
        heldout_pairs=sum(
            catalog.is_heldout_pair(a, b) for i, a in enumerate(catalog.seen) for b in catalog.seen[i + 1 :]
        ),
        counts=counts,
        files={
            p.relative_to(draft).as_posix(): {"size": p.stat().st_size, "sha256": file_digest(p)}
            for p in sorted(draft.rglob("*"))
            if p.is_file() and p.parent.name != "images"
        },
        pictures={
            "count": len(pictures),
            "sha256": hashlib.sha256("\n".join(map(" ".join, pictures)).encode()).hexdigest(),
        },
    )
    write_text(draft / NAME, json.dumps(asdict(manifest), indent=1) + "\n")
    return manifest


def _train_tokenizer(draft: Path, made: list[UnitResult], vocab_size: int) -> None:
    from xfm.data.tokenizer import normalise_caption, train_tokenizer  # imports torch: not in the workers

    # Captions and phrases meet the model without their signs, plain text as it is.
    learned = [(one, _LEARNED.get(one.unit.part) if one.unit.split is Split.TRAIN else None) for one in made]
    texts = (
        text if one.unit.part is Part.TEXT else normalise_caption(text, max_words=200)
        for one, name in learned
        for text in (one.texts if name is None else (row[name] for row in one.rows))
    )
    train_tokenizer(texts, vocab_size).save(draft / "tokenizer.json")
