"""An exported folder is used as a model is: pipelines, the command line, a server; and is compared first."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import xfm
from tests.alike import THOROUGH
from tests.folders import content
from tests.inference.models import EVERY, NEEDS, OPTIONS, inputs, pictures
from tests.inference.support import same
from tests.refusals import expect_refusal
from tests.runtimes.conftest import Exported, Native, needs
from xfm.cli.main import main
from xfm.config.artifacts import INT8, MANIFEST, Format
from xfm.models.folder import load_model
from xfm.models.runtimes import writing
from xfm.models.runtimes.loading import RuntimeModel, read_manifest
from xfm.models.runtimes.writing import export

RUNNING = [
    task
    for task in EVERY
    if task not in ("vqa", "captioning", "retrieval") and (THOROUGH or NEEDS[task] is None)
]


def assert_alike(first: object, second: object) -> None:
    same(first, second, near=1e-4, relative=2e-3)


@pytest.mark.parametrize("task", RUNNING)
def test_pipelines_answer_as_with_the_model(task: str, native: Native, exported: Exported) -> None:
    kind = NEEDS[task]
    rows, options = inputs(task, 7), OPTIONS.get(task, {})
    pipe = xfm.pipeline(task, exported(Format.ONNX, kind), batch_size=3)
    assert isinstance(pipe.engine.model, RuntimeModel)
    found = pipe(rows, **options)
    wanted = xfm.pipeline(task, native(kind), batch_size=3)(rows, **options)
    assert_alike(wanted, found)


@pytest.mark.parametrize("form", [Format.ONNX, *([Format.OPENVINO] if THOROUGH else [])])
def test_runtimes_answer_as_the_model(form: Format, native: Native, exported: Exported) -> None:
    folder = exported(form)
    for task in ("embed", "image-text-matching", "grounding"):
        rows = inputs(task, 6)
        found, wanted = (xfm.pipeline(task, place)(rows) for place in (folder, native(None)))
        assert_alike(wanted, found)
    search = [
        xfm.pipeline("retrieval", place)("a red square", images=pictures(5), rerank=3)
        for place in (folder, native(None))
    ]
    assert_alike(*search)


@pytest.mark.parametrize(("least", "arithmetic"), [(INT8.cosine, "eight bits"), (1.1, "float32")])
def test_encoders_have_eight_bits_where_vectors_stay(
    least: float, arithmetic: str, native: Native, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(Format.ONNX_INT8)
    monkeypatch.setattr(writing, "INT8", replace(INT8, cosine=least))
    manifest = export(load_model(native(None)), tmp_path / "small", Format.ONNX_INT8)
    about = {graph.name: graph.about for graph in manifest.graphs}
    assert all(f"; in {arithmetic}: the least cosine" in about[name] for name in ("image", "text"))
    assert "cosine" not in about["fusion"]
    written = (tmp_path / "small/image.onnx").read_bytes()
    assert (b"MatMulInteger" in written) == (arithmetic == "eight bits")
    assert not [path for path in (tmp_path / "small").iterdir() if "int8" in path.name]
    rows = inputs("embed", 6)
    found, wanted = (np.array(xfm.pipeline("embed", one)(rows)) for one in (tmp_path / "small", native(None)))
    cosines = (found * wanted).sum(1)
    assert cosines.min() >= (INT8.cosine if arithmetic == "eight bits" else 0.99999)
    values = json.loads((tmp_path / "small/preprocessor_config.json").read_text())
    (tmp_path / "small/preprocessor_config.json").write_text(json.dumps(values | {"std": [0.5, 0.5, 0.5]}))
    with expect_refusal("preprocessor_config.json", "export it again" if least < 1 else "restore its files"):
        xfm.pipeline("embed", tmp_path / "small")


def test_the_folder_says_what_it_is(exported: Exported) -> None:
    folder = exported(Format.ONNX)
    manifest = read_manifest(folder)
    assert manifest.format == "onnx"
    assert "pretrained" in manifest.source
    there = set(content(folder))
    assert {"config.json", "tokenizer.json", "preprocessor_config.json", "self_check.json", MANIFEST} <= there
    assert {graph.file for graph in manifest.graphs} <= there


# ---------------------------------------------------------------- refusals
def test_what_differs_is_named(exported: Exported, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported(Format.ONNX), tmp_path / "copy"))
    values = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(values | {"std": [0.5, 0.5, 0.5]}))
    with expect_refusal(str(folder), "preprocessor_config.json"):
        xfm.pipeline("embed", folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    heads = load_file(folder / "heads.safetensors")
    heads["itm_head.3.bias"] += 9 * torch.arange(2)
    save_file(heads, folder / "heads.safetensors")
    with expect_refusal(str(folder), "log-odds"):
        xfm.pipeline("image-text-matching", folder)


@pytest.mark.parametrize("form", [one for one in Format if THOROUGH or one is Format.ONNX])
def test_a_damaged_graph_is_named(form: Format, exported: Exported, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported(form), tmp_path / "copy"))
    path = next(folder.glob("image.*"))
    path.write_bytes(b"damaged" * 99)
    with expect_refusal("image", "cannot be run", "export the model again"):
        xfm.pipeline("embed", folder)


def test_what_needs_the_model_itself_is_refused(exported: Exported, native: Native, tmp_path: Path) -> None:
    folder = exported(Format.ONNX)
    with expect_refusal("exported model", "model folder"):
        load_model(folder)
    with expect_refusal("keeps its size"):
        xfm.load(folder, image_size=64)
    if THOROUGH:
        with expect_refusal("decoder", "model folder"):
            xfm.pipeline("vqa", exported(Format.ONNX, "vqa"))
    (tmp_path / "notes.txt").write_text("mine")
    with expect_refusal("holds something else"):
        export(load_model(native(None)), tmp_path, Format.ONNX)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_on_the_command_line(
    native: Native, exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(Format.ONNX)
    said = (out.parent / "said.txt").read_text()
    assert "image.onnx" in said
    assert str(out) in said
    assert main(["export", str(native(None)), str(tmp_path / "folder")]) == 2
    assert "--format" in capsys.readouterr().err
