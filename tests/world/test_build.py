import errno
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.folders import content
from tests.world.conftest import SMALL
from xfm.config.data import Augmentation, CorpusConfig, DataConfig, PatchMaskConfig, StreamConfig
from xfm.config.world import TaskSizes, WorldConfig
from xfm.core.errors import UserError
from xfm.data.loader import PretrainingData
from xfm.data.records import SampleKind
from xfm.data.schema import RegionSample
from xfm.data.sources import open_source
from xfm.data.tokenizer import Tokenizer, normalise_caption
from xfm.world import WorldManifest, build, build_world
from xfm.world.storage import fingerprint
from xfm.world.units import Part, Unit, UnitResult, WorkerState

World = tuple[Path, WorldManifest]
SIZES = TaskSizes(**dict.fromkeys(TaskSizes.__dataclass_fields__, 8))
FEW = WorldConfig(
    scenes=30,
    singles=8,
    twins=20,
    pictures=8,
    text_lines=40,
    vocab_size=400,
    shard_size=10,
    workers=1,
    tasks=SIZES,
)
"""Of several shards."""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def annotations(path: Path) -> list[dict[str, Any]]:
    with tarfile.open(path) as tar:
        members = [m for m in tar.getmembers() if m.name.endswith(".json")]
        return [json.load(file) for m in members if (file := tar.extractfile(m)) is not None]


def test_two_builds_are_byte_identical_whatever_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = build_world(tmp_path / "one", FEW, progress=False)
    monkeypatch.setattr(build, "IN_PROCESS", 0)
    two = build_world(tmp_path / "two", replace(FEW, workers=2), progress=False)
    assert one == two
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert "pretrain/scenes-00002.tar" in one.files


def test_a_scene_of_which_nothing_can_be_referred_to_is_a_pair_and_no_region(tmp_path: Path) -> None:
    """Two equal frying pans: none has a phrase of its own, and no record is bad for that."""
    world = tmp_path / "world"
    config = replace(FEW, seed=673, objects=100, heldout_objects=20, scenes=8)
    build_world(world, config, progress=False)
    scenes = world / "pretrain" / "scenes-00000.tar"
    assert sum(not one["regions"] for one in annotations(scenes)) == 1
    corpus = [CorpusConfig(str(scenes))]
    stream = StreamConfig(8, corpus, Augmentation.NONE)
    tokenizer = str(world / "tokenizer.json")
    settings = DataConfig(region=stream, pair=stream, tokenizer=tokenizer, caption_rows=False, workers=0)
    settings = replace(settings, patch_mask=PatchMaskConfig(6, 2), max_bad=0)
    data = PretrainingData(settings, 96, 16, 0)
    (epoch,) = data.batches(0, 1)
    assert (epoch.skipped, epoch.regionless, data.regionless) == ((), 1, 1)
    pairs, regions = epoch.origins[:8], epoch.origins[8:]
    assert (len(set(pairs)), len(set(regions))) == (8, 7)


def test_layout_is_that_of_the_contract(world: World) -> None:
    folder, manifest = world
    names = {name for name in content(folder) if not name.endswith(".jpg")}
    tasks = {
        "retrieval": ("validation", "seen", "combinations", "objects", "hard", "hard_validation"),
        "vqa": ("train", "validation", "seen", "combinations"),
        "reasoning": ("train", "validation", "seen", "combinations"),
        "grounding": ("train", "validation", "seen", "combinations"),
        "entailment": ("train", "validation", "test"),
        "paraphrase": ("train", "validation", "test"),
        "category": ("train", "test"),
        "masked_token": ("validation", "test"),
        "absence": ("validation", "test"),
    }
    expected = {f"tasks/{task}/{split}.jsonl" for task, splits in tasks.items() for split in splits}
    expected |= {f"pretrain/{part}-00000.tar" for part in ("scenes", "singles", "twins", "pictures")}
    expected |= {"pretrain/text.jsonl", "tokenizer.json", "world.json"}
    assert names == expected
    assert set(manifest.files) == expected - {"world.json"}
    assert not manifest.missing(folder)
    assert WorldManifest.load(folder) == manifest
    for name, count in manifest.counts.items():
        if (folder / f"{name}.jsonl").exists():
            assert len(lines(folder / f"{name}.jsonl")) == count


def test_rows_have_their_fields_and_pictures(world: World) -> None:
    folder, _ = world
    fields = {
        "retrieval/seen": {"image", "caption"},
        "retrieval/hard": {"image", "caption", "distractors", "edit"},
        "vqa/train": {"image", "question", "answer", "kind"},
        "reasoning/train": {"images", "text", "label"},
        "grounding/seen": {"image", "phrase", "box"},
        "entailment/test": {"text_a", "text_b", "label"},
        "paraphrase/test": {"text_a", "text_b", "label"},
        "category/test": {"image", "label", "object"},
        "masked_token/test": {"image", "caption", "wrong_image"},
        "absence/test": {"image", "phrase", "present", "kind"},
    }
    for name, wanted in fields.items():
        path = folder / "tasks" / f"{name}.jsonl"
        for row in lines(path):
            assert set(row) == wanted
            images = row.get("images", [row[k] for k in ("image", "wrong_image") if k in row])
            assert all((path.parent / image).is_file() for image in images)


def test_retrieval_captions_are_distinct(world: World) -> None:
    for split in ("seen", "combinations", "objects"):
        rows = lines(world[0] / f"tasks/retrieval/{split}.jsonl")
        assert len({normalise_caption(row["caption"]) for row in rows}) == len(rows)


def test_training_pictures_show_nothing_held_out(world: World, studio: WorkerState) -> None:
    """By the texts on disk: they name every object of their pictures."""
    folder, manifest = world
    hidden = {entry["name"] for entry in manifest.objects["heldout"]}
    catalog = studio.catalog
    by_length = sorted(catalog.by_name, key=len, reverse=True)

    def named(text: str) -> set[str]:
        found = set()
        for name in by_length:
            if f" {name} " in f" {text} ":
                found.add(name)
                text = f" {text} ".replace(f" {name} ", "  ").strip()
        return found

    archives = [folder / f"pretrain/{part}-00000.tar" for part in ("scenes", "singles")]
    shown = [[region["phrase"] for region in r["regions"]] for path in archives for r in annotations(path)]
    shown += [r["captions"] for r in annotations(folder / "pretrain/twins-00000.tar")]
    assert len(shown) > 200
    for texts in shown:
        names = {name for text in texts for name in named(normalise_caption(text))}
        assert not names & hidden
        kinds = [catalog.by_name[name] for name in names]
        assert not any(catalog.is_heldout_pair(a, b) for a in kinds for b in kinds)
    text = " ".join(row["text"] for row in lines(folder / "pretrain/text.jsonl"))
    assert sum(name in text for name in hidden) > 20


def test_the_project_reads_its_own_world(world: World) -> None:
    folder, manifest = world
    source = open_source(str(folder / "pretrain" / "scenes-*.tar"), SampleKind.REGION)
    assert len(source) == manifest.counts["pretrain/scenes"]
    sample = source.read(0)
    assert isinstance(sample, RegionSample)
    assert sample.pixels.shape == (3, 96, 96)
    assert sample.captions
    assert all(w > 0 and h > 0 for _, _, w, h in (r.box for r in sample.regions))


def test_tokenizer_keeps_captions_short(world: World) -> None:
    folder, _ = world
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    texts = [
        normalise_caption(c) for r in annotations(folder / "pretrain/scenes-00000.tar") for c in r["captions"]
    ]
    lengths = tokenizer.encode_batch(texts, 64).mask.sum(1)
    assert (lengths <= 40).float().mean() > 0.9  # 1,000 entries here; the default has 3,000


def test_same_configuration_is_not_built_again(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    folder, manifest = world
    before = (folder / "world.json").stat().st_mtime_ns
    assert build_world(folder, replace(SMALL, workers=3)) == manifest
    assert (folder / "world.json").stat().st_mtime_ns == before
    assert "up to date" in capsys.readouterr().out


def test_another_configuration_replaces_the_world_on_request(tmp_path: Path) -> None:
    first = build_world(tmp_path / "w", FEW, progress=False)
    with pytest.raises(UserError, match=r"w holds a world with seed 0, not 1: .* `xfm prepare --force`"):
        build_world(tmp_path / "w", replace(FEW, seed=1), progress=False)
    assert WorldManifest.load(tmp_path / "w") == first
    second = build_world(tmp_path / "w", replace(FEW, seed=1), progress=False, force=True)
    assert first.fingerprint != second.fingerprint
    assert first.files != second.files
    assert WorldManifest.load(tmp_path / "w").seed == 1
    (tmp_path / "w" / "pretrain" / "text.jsonl").unlink()
    assert build_world(tmp_path / "w", replace(FEW, seed=1), progress=False).files == second.files
    next((tmp_path / "w" / "tasks" / "images").iterdir()).unlink()
    assert second.missing(tmp_path / "w") == ["tasks/images"]
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_an_interrupted_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(studio: WorkerState, unit: Unit) -> UnitResult:
        raise KeyboardInterrupt

    monkeypatch.setitem(build.MAKERS, Part.MASKED_TOKEN, stop)
    with pytest.raises(KeyboardInterrupt):
        build_world(tmp_path / "w", replace(SMALL, scale=0.002), progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["/dev/null/w", "/proc/w", "file/w"])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"w cannot be written \(.*choose another folder"):
        build_world(tmp_path / place, replace(SMALL, scale=0.002), progress=False)


@pytest.mark.parametrize(
    ("number", "sentence"), [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "cannot be written")]
)
def test_disk_errors_are_one_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, sentence: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(build, "write_lines", full)
    with pytest.raises(UserError, match=sentence):
        build_world(tmp_path / "w", replace(SMALL, scale=0.002), progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match=r"not empty and holds no world\.json"):
        build_world(tmp_path, SMALL, progress=False)
    with pytest.raises(UserError, match="is a file"):
        build_world(tmp_path / "thesis.txt", SMALL, progress=False)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_damaged_manifests_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"world\.json does not exist"):
        WorldManifest.load(tmp_path)
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(UserError, match="not a readable manifest"):
        WorldManifest.load(tmp_path)


def test_scale_and_fingerprint() -> None:
    config = WorldConfig(scale=0.1).resolved()
    assert (config.scenes, config.tasks.vqa_train, config.scale) == (1200, 1200, 1.0)
    assert WorldConfig().resolved() == WorldConfig()
    packages = {"pillow": "1"}
    assert fingerprint(config, packages) == fingerprint(replace(config, workers=7), packages)
    assert fingerprint(config, packages) != fingerprint(replace(config, seed=7), packages)
    assert fingerprint(config, packages) != fingerprint(config, {"pillow": "2"})


def test_plan_covers_every_row_once() -> None:
    config = WorldConfig()
    units = build.plan(config)
    assert len(set(units)) == len(units)
    scenes = [u for u in units if u.part is Part.SCENES]
    assert sum(u.rows for u in scenes) == config.scenes
    assert [u.index for u in scenes] == list(range(12))


def test_workers_import_no_torch() -> None:
    """Processes of the pool start in a fraction of a second."""
    code = "import sys, xfm.world; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
