"""`xfm evaluate --backends` measures, keeps what is fastest, and pipelines follow it and say so."""

import json
import shutil
import warnings
from pathlib import Path

import pytest

import xfm
from tests.alike import THOROUGH
from tests.evaluation.tiny import save_tiny_model
from tests.inference.models import inputs
from tests.refusals import expect_refusal
from tests.runtimes.conftest import Exported, Native, needs
from xfm.cli.main import main
from xfm.config.artifacts import Format
from xfm.models.runtimes import backend_choice as module
from xfm.models.runtimes import backends, benchmarking
from xfm.models.runtimes.backend_choice import WAYS, ChosenWay, Figure, chosen, keep, kept_for, machine
from xfm.models.runtimes.benchmarking import _best
from xfm.models.runtimes.parts import RuntimeModel
from xfm.serving.models import Models


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XFM_CACHE", str(tmp_path / "cache"))


def placed(exported: Exported, form: Format, native: Native) -> Path:
    """A tiny model's folder, whose graphs of a format the cache has."""
    shutil.copytree(exported(form), kept_for(native(None)) / form.value)
    return native(None)


def test_measured_shown_and_kept(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    native: Native,
    exported: Exported,
) -> None:
    """With the real runtimes: all are compared, and the one that is kept is the one that runs.

    Graphs that are there are taken, others are written, and a library that is not there is named.
    """
    needs(Format.OPENVINO)
    folder = placed(exported, Format.ONNX, native)
    if not THOROUGH:
        there = backends.find_spec
        monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "openvino" else there(name))
    monkeypatch.setattr(benchmarking, "BATCHES", (1, 2))
    monkeypatch.setattr(benchmarking, "ROUNDS", 2)
    assert main(["evaluate", str(folder), "--backends", "exact", "--out", str(tmp_path / "f")]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "f" / "backends.json").read_text())
    ways = {"torch", "torch-bf16", "onnxruntime"} | ({"openvino"} if THOROUGH else set())
    assert ways <= {one["way"] for one in found["figures"]}
    assert {(one["work"], one["batch"]) for one in found["figures"]} == {
        (work, batch) for work in ("image", "text", "matching") for batch in (1, 2)
    }
    assert all(one["milliseconds"] > 0 for one in found["figures"])
    assert found["way"] in ("torch", "onnxruntime", "openvino")
    assert f"runs on {found['way']} from now on" in said
    assert "writing onnx" not in said
    assert ("writing openvino, once" if THOROUGH else "Left out: openvino") in said
    assert chosen(folder) is WAYS[found["way"]]
    assert (kept_for(folder) / "onnx" / "exported.json").is_file()


def take(folder: Path, way: str) -> None:
    keep(folder, ChosenWay(way, machine(), (Figure(way, "image", 1, 1.0),)))


def test_pipelines_and_servers_follow_it_and_say_so(native: Native, exported: Exported) -> None:
    folder = placed(exported, Format.ONNX, native)
    rows = inputs("embed", 4)
    wanted = xfm.pipeline("embed", folder)(rows)
    take(folder, "onnxruntime")
    with pytest.warns(UserWarning, match="runs on onnxruntime, which xfm evaluate --backends chose"):
        pipe = xfm.pipeline("embed", folder)
    assert isinstance(pipe.engine.model, RuntimeModel)
    assert pipe(rows) == pytest.approx(wanted, abs=1e-4)
    with pytest.warns(UserWarning, match="runs on onnxruntime"):
        models = Models([str(folder)])
    assert isinstance(models.model(None).pretrained.model, RuntimeModel)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked = xfm.pipeline("embed", folder, precision="fp32")
    assert not isinstance(asked.engine.model, RuntimeModel)


def test_half_precision_may_be_chosen(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    take(folder, "torch-bf16")
    with pytest.warns(UserWarning, match="torch-bf16"):
        assert xfm.pipeline("embed", folder).engine.precision == "bf16"
    take(folder, "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert xfm.pipeline("embed", folder).engine.precision == "fp32"


def test_a_choice_is_of_one_model_one_machine_and_its_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = save_tiny_model(tmp_path / "model"), save_tiny_model(tmp_path / "other", seed=2)
    take(folder, "torch-bf16")
    assert chosen(folder) is WAYS["torch-bf16"]
    assert chosen(other) is None
    monkeypatch.setattr(module, "machine", lambda: "another, 2 threads, torch 9")
    assert chosen(folder) is None


def test_a_way_whose_graphs_are_gone_is_not_taken(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    take(folder, "openvino")
    assert chosen(folder) is None
    assert xfm.pipeline("embed", folder).engine.name == str(folder)


def test_the_least_time_over_all_work() -> None:
    def figures(**times: list[float]) -> tuple[Figure, ...]:
        return tuple(
            Figure(way.replace("_", "-"), "image", n, ms)
            for way, row in times.items()
            for n, ms in enumerate(row)
        )

    some = figures(torch=[1.0, 8.0], onnxruntime=[2.0, 3.0], torch_bf16=[1.0, 1.0])
    ways = [WAYS[name] for name in ("torch", "onnxruntime", "torch-bf16")]
    assert _best(some, ways) == "torch-bf16"
    assert _best(some, ways[:2]) == "onnxruntime"


def test_without_a_self_check_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    (folder / "self_check.json").unlink()
    with expect_refusal("self_check.json", "save the model again"):
        kept_for(folder)
    assert main(["evaluate", str(folder), "--backends", "choose"]) == 2
    assert chosen(folder) is None


def test_what_is_asked_for_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["fastest"], ["choose", "--scale", "0.1"], ["choose", "--train", "a"]):
        assert main(["evaluate", "small", "--backends", *wrong]) == 2
        assert (wrong[1] if wrong[1:] else "backends") in capsys.readouterr().err
    with pytest.raises(ValueError, match="no way"):
        ChosenWay("abacus", "here", ())


def test_a_cache_that_cannot_be_read_chooses_nothing(native: Native, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XFM_CACHE", "x" * 300)
    with pytest.warns(UserWarning, match="xfm evaluate --backends"):
        assert chosen(native(None)) is None
