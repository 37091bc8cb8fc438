"""A model is named in one way everywhere: a path, a run, a model of the package, a repository of the hub."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.alike import thorough
from tests.modeling.hub_server import Hub, running_hub
from tests.processes import XFM, Ended, run
from tests.refusals import expect_refusal
from xfm.models.resolve import find_model, hub_name, model_folder

ROWS = "text,label\n" + "".join(f"the {c} square {n},{c}\n" for n in range(12) for c in ("red", "blue"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("me/tiny", ("me/tiny", None)),
        ("me/tiny@v1.0", ("me/tiny", "v1.0")),
        ("small", None),
        ("./me/tiny", None),
        ("me/tiny/model", None),
        ("me/ti ny", None),
        ("https://huggingface.co/me/tiny", None),
    ],
)
def test_what_a_name_of_the_hub_is(name: str, meant: object) -> None:
    assert hub_name(name) == meant


def test_a_path_wins(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks the hub for what lies here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me").mkdir()
    saved.rename(tmp_path / "me" / "tiny")
    assert model_folder("me/tiny") == Path("me/tiny")
    (tmp_path / "me" / "linked").symlink_to("nowhere")
    assert model_folder("me/linked") == Path("me/linked")
    with expect_refusal("nowhere-here does not exist", "owner/name"):
        find_model("nowhere-here")


@pytest.fixture
def hub(saved: Path) -> Iterator[Hub]:
    with running_hub() as hub:
        hub.files["me/tiny"] = {path.name: path.read_bytes() for path in saved.iterdir()}
        hub.revisions.add("v1")
        yield hub


def xfm(line: str, place: Path, endpoint: str, **extra: str | None) -> Ended:
    """A command that knows only this hub."""
    proxies = dict.fromkeys(name for name in os.environ if name.lower().endswith("_proxy"))
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(place / "home"), "HF_HUB_DISABLE_XET": "1", **proxies}
    return run([*XFM, *line.split()], 300, place, **{**own, "HF_TOKEN": None, **extra})


@thorough
def test_commands_take_a_name(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    hub.files["me/tiny"] |= {"pytorch_model.bin": b"pickle", "code.py": b"raise SystemExit"}
    tune = "finetune text-classification me/tiny@v1 --train rows.csv --out run --steps 4 --quiet --device cpu"
    done = xfm(f"{tune} --baseline false --push-to-hub me/tuned", tmp_path, hub.address, HF_TOKEN="hf_test")
    assert done.status == 0, done.err
    assert f"Hub:     {hub.address}/me/tuned" in done.out
    assert hub.private["me/tuned"]
    assert {*hub.downloaded} == {path for path in hub.files["me/tiny"] if path.endswith(("json", "tensors"))}
    card = hub.files["me/tuned"]["README.md"].decode()
    assert "fine-tuned for text-classification, 2 outputs" in card
    assert "text-classification/test/accuracy | " in card
    for name in ("model.safetensors", "task.json", "task.safetensors"):
        assert hub.files["me/tuned"][name] == (tmp_path / "run" / "model" / name).read_bytes()
    before = len(hub.asked)
    for line in (
        "predict text-classification me/tuned --text red",
        "evaluate me/tuned --test rows.csv --quiet --device cpu",
        "export me/tiny published.th",
        "probe me/tiny --train nowhere.csv --test nowhere.csv --out probe",
    ):
        done = xfm(line, tmp_path, hub.address)
        assert done.status == (2 if "nowhere" in line else 0), (line, done.err)
        assert "nowhere" not in line or "nowhere.csv" in done.err
    assert len(hub.asked) > before
    assert (tmp_path / "runs" / "hub-me--tuned" / "evaluation-rows" / "metrics.json").is_file()
    # The cache is enough without the hub.
    assert xfm("predict embed me/tiny --text red", tmp_path, "http://127.0.0.1:9").status == 0


@pytest.mark.slow
def test_what_cannot_be_read_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    hub.files["me/gated"], hub.files["me/other"] = {"config.json": b"{}"}, {"pytorch_model.bin": b"pickle"}
    hub.gated.add("me/gated")
    code = (
        "import sys, xfm\n"
        "for name in sys.argv[1:]:\n"
        "    try: xfm.load(name)\n"
        "    except xfm.UserError as error: print(error)"
    )
    words = {
        "me/nothing": "the hub has no such repository, or a private one",
        "me/tiny@v9": "no such revision",
        "me/gated": "is gated: ask for access",
        "me/other": "holds no model of xfm",
    }
    command = [XFM[0], "-c", code, *words]
    extra = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": None}
    lines = run(command, 120, tmp_path, HF_ENDPOINT=hub.address, **extra).out.splitlines()
    assert len(lines) == len(words)
    for line, (name, said) in zip(lines, words.items(), strict=True):
        assert line.startswith(f"{name} is no model folder here, and "), line
        assert said in line
    away = run([*command[:3], "me/nothing"], 120, tmp_path, HF_ENDPOINT="http://127.0.0.1:9", **extra)
    assert "the hub cannot be reached, nor is it in the hub's cache" in away.out
    offline = run([*command[:3], "me/nothing"], 120, tmp_path, HF_HUB_OFFLINE="1", **extra)
    assert "the hub cannot be reached" in offline.out
