import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.folders import content
from tests.reports.written import json_lines
from tests.world.conftest import SMALL
from xfm.config.world import TaskSizes, WorldConfig
from xfm.core.errors import UserError
from xfm.data.tokenizer import normalise_caption
from xfm.world import WorldManifest, build, build_world
from xfm.world.units import WorkerState

World = tuple[Path, WorldManifest]
SIZES = TaskSizes(**dict.fromkeys(TaskSizes.__dataclass_fields__, 8))
FEW = WorldConfig(scenes=30, singles=8, twins=20, pictures=8, text_lines=40, vocab_size=400, workers=1)
FEW = replace(FEW, shard_size=10, tasks=SIZES)
"""Of several shards."""


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
            assert len(json_lines(folder / f"{name}.jsonl")) == count


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
        for row in json_lines(path):
            assert set(row) == wanted
            images = row.get("images", [row[k] for k in ("image", "wrong_image") if k in row])
            assert all((path.parent / image).is_file() for image in images)


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
    text = " ".join(row["text"] for row in json_lines(folder / "pretrain/text.jsonl"))
    assert sum(name in text for name in hidden) > 20


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
