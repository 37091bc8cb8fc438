"""Readers of settings and of what programs note of themselves: YAML, JSON, model folders, checkpoints."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from importlib import resources
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from safetensors.torch import save

from tests.corpora.miniature import write
from tests.evaluation.tiny import save_tiny_model, tiny_tokenizer
from tests.fuzz.binaries import change_tensors
from tests.fuzz.changes import Change, change_json, change_json_lines, change_text, change_yaml
from tests.fuzz.target import Family, Target
from xfm.cli.info import describe
from xfm.config.benchmark import BenchmarkRecipe, load_benchmark
from xfm.config.finetune import FinetuneConfig
from xfm.config.finetune_file import dump_finetune, read_finetune
from xfm.config.load import load_recipe, read_recipe
from xfm.config.options import parse
from xfm.config.plain import to_plain
from xfm.config.tasks import task_spec
from xfm.core.files import read_log
from xfm.corpora.passes import ShardMark
from xfm.corpora.prepare import NAME, CorpusManifest, load_manifest, prepared_mark
from xfm.data.tokenizer import Tokenizer
from xfm.evaluation.probing.prompt_templates import load_templates, read_names
from xfm.executors.sharded_map import read_record
from xfm.models.model_reading import read_calibration, read_config, read_provenance
from xfm.models.safetensors_header import tensor_shapes
from xfm.models.self_check import read_check
from xfm.models.weights import read_tensors
from xfm.search.journal import CollectionManifest
from xfm.training.atomic_folder import damage
from xfm.training.checkpoint import read_state, verified
from xfm.training.clock import read_schedule
from xfm.training.flags import recipe_steps

_MODEL = ("config.json", "preprocessor_config.json", "provenance.json", "self_check.json", "calibration.json")
_PICTURES = "finetune/recommended/pictures.yaml"
_STATE = {
    "format": 1, "step": 20, "world": 2, "precision": "fp32", "settings": {"training": {"steps": 40}},
    "data": {"pair": "abc"}, "changes": ["step 10: lr 0.1 in place of 0.2"],
    "samples": {"pair": {"read": 160, "skipped": 2, "trained": 158}},
}  # fmt: skip
_CALIBRATION = resources.files("xfm.models.shipped") / "small" / "calibration.json"
_TOLD = {"task": "vqa", "model": "small", "train": "a.csv", "out": "runs/a", "columns": "image=photo"}


def _recipe(name: str, folder: Path) -> None:
    write(folder / "a.yaml", (resources.files("xfm") / "recipes" / name).read_bytes())


def _finetuning(folder: Path) -> None:
    write(folder / "a.yaml", dump_finetune(_TOLD, FinetuneConfig(), task_spec("vqa")))


def _parsed(source: Path) -> None:
    _, content = read_finetune(source)
    parse(FinetuneConfig, [], values=content, source=f"--config {source}")


@cache
def _tiny_model() -> Path:
    """Made once in a process, among its files."""
    folder = save_tiny_model(Path(mkdtemp()) / "model")
    (folder / "calibration.json").write_bytes(_CALIBRATION.read_bytes())
    return folder


def _model(folder: Path) -> None:
    shutil.copytree(_tiny_model(), folder / "model")


def read_model(folder: Path) -> None:
    """All that says what a model is."""
    model = folder / "model"
    read_config(model)
    read_config(model, image_size=64)
    read_provenance(model)
    read_calibration(model)
    read_check(model / "self_check.json")


def _described(folder: Path) -> None:
    describe(str(folder / "model"))


def _checkpoint(folder: Path) -> None:
    path = folder / "checkpoints" / "step-00000020"
    write(path / "state.json", _STATE)
    tensors = save({"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.int64)})
    for name in ("model", "optimizer"):
        write(path / f"{name}.safetensors", tensors)
    write(path / "manifest.json", {"sha256": {"state.json": "0" * 64}, "written": "2026-11-28T14:00:00+0000"})


def read_checkpoint(folder: Path) -> None:
    path = folder / "checkpoints" / "step-00000020"
    damage(path)
    assert verified(path) is not None
    read_state(path)
    describe(str(path))


def read_weights(folder: Path) -> None:
    path = folder / "a.safetensors"
    tensor_shapes(path)
    read_tensors(path)


def _weights(folder: Path) -> None:
    tensors = {f"encoder.{n}.weight": torch.zeros(n + 1, 3) for n in range(4)}
    write(folder / "a.safetensors", save(tensors, {"format": "pt"}))


def _manifest(folder: Path) -> None:
    shard = {"name": "00000.tar", "records": 3, "bytes": 10240, "sha256": "0" * 64}
    manifest = CorpusManifest(
        1, "coco", "0" * 64, "CC BY 4.0", "coco", {"max_side": 0}, 3, 3, 10240,
        {"pictures": 3, "captions": 6}, {"damaged": 0}, {"region of a crowd": 1}, [shard], {"xfm": "0.1.0"},
    )  # fmt: skip
    write(folder / NAME, json.dumps(asdict(manifest)))


def read_manifest(folder: Path) -> None:
    prepared_mark(folder)
    found = load_manifest(folder)
    assert found.summary()


def _mark(folder: Path) -> None:
    mark = ShardMark(3, 2, 10240, "0" * 64, bad=[{"place": "a", "error": "b"}])
    (folder / "a.json").write_text(json.dumps(to_plain(mark)))


def _json(name: str, content: Any, read: Callable[[Path], object], change: Change = change_json) -> Target:
    file = "a.json" if isinstance(content, dict | list) else "a.txt"
    prepare = partial(_put, file=file, content=content)
    return _of(name, prepare, file, change, lambda folder: read(folder / file))


def _put(folder: Path, file: str, content: Any) -> None:
    write(folder / file, content)


_of = partial(Target, Family.CONFIGURATIONS)


def _yaml(
    name: str,
    prepare: Callable[[Path], object],
    quick: Callable[[Path], object],
    whole: Callable[[Path], object],
    share: float = 0.06,
) -> tuple[Target, Target]:
    """A file that is read, for which milliseconds are enough, and parsed, which takes half a second."""

    def target(kind: str, read: Callable[[Path], object], weight: float) -> Target:
        return _of(
            f"{name}-{kind}", prepare, "a.yaml", change_yaml, lambda folder: read(folder / "a.yaml"), weight
        )

    return target("read", quick, 1), target("parsed", whole, share)


_ABOUT = {
    "format": 3, "model": "small", "store": {"address": "postgresql://x", "table": "a"},
    "fields": {"n": "text"},
}  # fmt: skip
_LINE = [{"step": 1, "loss": 2.5, "time": "now"}, {"step": 2, "loss": 2.25}]
TARGETS = (
    *_yaml("nano", partial(_recipe, "nano.yaml"), lambda path: recipe_steps(str(path)), load_recipe),
    *_yaml("ablation", partial(_recipe, "ablation.yaml"), lambda path: recipe_steps(str(path)), load_recipe),
    *_yaml("benchmark", partial(_recipe, _PICTURES), lambda path: read_recipe(path, BenchmarkRecipe),
        load_benchmark, 0.2),
    *_yaml("finetune", _finetuning, read_finetune, _parsed, 0.3),
    *(_of(f"{kind}-{Path(name).stem}", _model, f"model/{name}", change_json, read, weight)
        for kind, read, weight in (("model", read_model, 2), ("info", _described, 0.2)) for name in _MODEL),
    _of("checkpoint-state", _checkpoint, "checkpoints/step-00000020/state.json", change_json,
        read_checkpoint, 3),
    _of("checkpoint-manifest", _checkpoint, "checkpoints/step-00000020/manifest.json", change_json,
        read_checkpoint),
    _of("safetensors", _weights, "a.safetensors", change_tensors, read_weights, 2),
    _of("corpus-manifest", _manifest, NAME, change_json, read_manifest, 2),
    _of("shard-mark", _mark, "a.json", change_json, lambda folder: read_record(folder / "a.json", ShardMark,
        "")),
    _of("index-about", lambda folder: write(folder / "index.json", {**_ABOUT, "probe": [0.5, 0.25]}),
        "index.json", change_json, CollectionManifest.read, 2),
    _of("tokenizer", lambda folder: tiny_tokenizer().save(folder / "tokenizer.json"), "tokenizer.json",
        change_json, lambda folder: Tokenizer.load(folder / "tokenizer.json").encode_batch(["a red square"],
        16)),
    _json("schedule", "step,share,seconds,phase\n0,0.0,0.0,0\n1,0.5,1.25,0\n2,1.0,2.5,1\n", read_schedule,
        change_text),
    _json("prompts", "a photo of a {}.\na drawing of a {}\n", lambda path: load_templates(str(path)),
        change_text),
    _json("names", "n01440764=tench\nn01443537=goldfish\n", read_names, change_text),
    _json("log", "".join(json.dumps(line) + "\n" for line in _LINE), read_log, change_json_lines),
)  # fmt: skip
