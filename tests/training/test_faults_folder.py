"""Runs that meet in one folder, go on with other data, or find no room: tried on real processes."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.alike import some, thorough
from tests.folders import content
from tests.processes import HOLD, XFM, Running, run
from tests.training.corpus import write_corpus
from tests.training.faults import ADVANCE, arguments, mounted, sentence, with_fault
from tests.training.support import logged
from xfm.cli.main import main
from xfm.models.model_reading import read_provenance
from xfm.training.checkpoint import latest_checkpoint, list_checkpoints


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


# ------------------------------------------------------------------ two in one folder
@thorough
@pytest.mark.parametrize(
    "words",
    [
        "evaluate MODEL --world WORLD --out FOLDER",
        "finetune text-classification --model MODEL --train FILE --out FOLDER",
    ],
)
def test_every_command_that_writes_a_folder_holds_it(tmp_path, words):
    """Whether the folder is free comes before everything that is wrong with the rest of the command."""
    folder = tmp_path / "out"
    (tmp_path / "rows.csv").write_text("image,text,label\n")
    places = {"MODEL": tmp_path / "none", "WORLD": tmp_path, "FILE": tmp_path / "rows.csv", "FOLDER": folder}
    with Running([*HOLD, str(folder)]) as first:
        first.wait_until((tmp_path / "out.ready").exists)
        before = content(tmp_path)
        said = sentence(run([*XFM, *(str(places.get(word, word)) for word in words.split())]))
        assert content(tmp_path) == before
        assert f"process {first.process.pid} on" in said


# ------------------------------------------------------------------ other data, other processes
@thorough
def test_other_data_is_noticed_and_a_copy_of_them_is_not(corpus, tmp_path, capsys):
    def trained(*options: str, root: Path = corpus, status: int = 0) -> str:
        assert main(arguments(root, tmp_path, *options, steps=6, save_every=3, keep=9)) == status
        shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000006", ignore_errors=True)
        return capsys.readouterr().err

    trained()
    copied = shutil.copytree(corpus, tmp_path / "moved", copy_function=shutil.copyfile)
    trained("--resume", "--root", str(copied), root=copied)
    text = corpus / "text.jsonl"
    text.write_text(text.read_text().replace("cat", "cow"))
    before = content(tmp_path / "run")
    said = trained("--resume", status=2)
    assert "text.jsonl was" in said
    assert "scenes" not in said
    assert "--allow-changed data" in said
    assert content(tmp_path / "run") == before
    assert "is none of data, processes" in trained("--resume", "--allow-changed", "dat", status=2)
    # What a run waits for and keeps at hand alters nothing that is computed: it may change, too.
    at_hand = ["--data.remote.patience", "9", "--data.remote.cache_mb", "7", "--data.cache_mb", "0"]
    trained("--resume", *at_hand, "--allow-changed", "data")
    noted = read_provenance(tmp_path / "run" / "model")["changed_on_resuming"]
    assert any(one.startswith("from step 3: its data has changed (text.jsonl was") for one in noted)
    events = [line["message"] for line in logged(tmp_path / "run") if line.get("event") == "resumed"]
    assert any("Allowed to differ" in message for message in events)


# ------------------------------------------------------------------ no room
@thorough
@pytest.mark.usefixtures("may_mount")
def test_a_full_disk_is_said_once(corpus, tmp_path):
    """The second checkpoint does not fit; the first stays, and nothing half-written."""
    place = tmp_path / "small"
    place.mkdir()
    fill = (
        "from pathlib import Path\n"
        "from xfm.training import run_folder\n"
        "real = run_folder.write_checkpoint\n"
        "def save(path, *rest):\n"
        "    if path.name.endswith('6'):\n"
        f"        with open(r'{place}/filler', 'wb', buffering=0) as file:\n"
        "            try:\n"
        "                while file.write(bytes(4096)): pass\n"
        "            except OSError: pass\n"
        "    real(path, *rest)\n"
        "run_folder.write_checkpoint = save\n"
    )
    words = with_fault(fill, arguments(corpus, tmp_path, steps=50, save_every=3))
    words[words.index("--out") + 1] = str(place / "run")
    keep = f'"$@"; status=$?; cp -r "{place}/run" "{tmp_path}/kept"; exit $status'
    said = sentence(run(mounted(place, "4m", ["sh", "-c", keep, "sh", *words])))
    assert said.count("disk is full") == 1
    assert "--resume" in said
    assert [path.name for path in (tmp_path / "kept" / "checkpoints").iterdir()] == ["step-00000003"]
    assert latest_checkpoint(tmp_path / "kept")[0] is not None


@thorough
def test_too_little_memory_is_one_sentence(corpus, tmp_path):
    fills = ADVANCE.format("calls.append(1) or len(calls) > 4 and torch.empty(1 << 45)")
    fault = f"import torch\ncalls = []\n{fills}"
    words = arguments(corpus, tmp_path, steps=50, save_every=3, workers=1)
    said = sentence(run(with_fault(fault, words)))
    assert "Out of memory" in said
    assert "batch sizes" in said
    assert "step-00000003 is saved" in said
    assert len(list_checkpoints(tmp_path / "run")) == 1


# ------------------------------------------------------------------ signals outside the loop
@thorough
@pytest.mark.parametrize(
    ("number", "where"), some([(signal.SIGTERM, "saving"), (signal.SIGINT, "opening")], 2)
)
def test_signals_before_and_after_the_loop(corpus, tmp_path, number, where):
    mark = tmp_path / "reached"
    place = {
        "opening": "from xfm.training.curriculum import CurriculumData as T\nname = '__init__'",
        "saving": "import xfm.training.pretrain as T\nname = 'save_model'",
    }[where]
    fault = (
        f"{place}\nimport time\nfrom pathlib import Path\n"
        f"def stay(*a, **k):\n    Path(r'{mark}').touch()\n    time.sleep(100)\nsetattr(T, name, stay)"
    )
    words = arguments(corpus, tmp_path, steps=2)
    with Running(with_fault(fault, words)) as running:
        running.wait_until(mark.exists)
        running.signal(number, group=True)
        said = sentence(running.end(), 130)
    assert said != "xfm: "
    assert not (tmp_path / "run" / "model").exists()
    if where == "saving":
        assert "--resume" in said
        assert main(arguments(corpus, tmp_path, "--resume", steps=2)) == 0
