"""Several processes (gloo on the CPU), or parts of a batch, fine-tune what one process does at once."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.alike import chosen, some, thorough
from tests.evaluation.tiny import save_tiny_model
from tests.finetuning.distributed_worker import (
    EVERY,
    KINDS,
    LONG,
    SEVERAL,
    TABLES,
    TEXTS,
    VALUES,
    WEIGHTED,
    fine_tune,
    losses,
    plain,
    save_spread_model,
)
from tests.processes import TORCHRUN, run
from tests.refusals import expect_refusal
from tests.reports.written import json_lines
from xfm.config.tasks import task_spec
from xfm.finetuning.finished import FinetuneResult
from xfm.finetuning.report import REPORT
from xfm.reports.scores import METRICS, read_scores
from xfm.training.checkpoint import list_checkpoints, read_state

pytestmark = thorough  # of the steps of several processes some run in tests/training
WORKER = Path(__file__).with_name("distributed_worker.py")
WHOLE = ("retrieval", "sentence-similarity")
"""Their loss contrasts all rows of a batch."""
CLOSE = {"rel": 1e-5, "abs": 1e-5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, tables of texts, and what two processes make of every task in turn."""
    found = tmp_path_factory.mktemp("tuned")
    save_tiny_model(found / "model")
    save_spread_model(found / "spread")
    texts = ("red", "green square", "it is blue", "a yellow one", "no", "yes", "left", "what", "where", "a")
    labels = {
        VALUES: [str(number / 2) for number in range(10)],
        SEVERAL: ["x", "x|y", "", "y|z", "z", "x|y|z", "", "z", "y", "x"],
        WEIGHTED: ["few" if number in (1, 4, 5) else "many" for number in range(10)],
    }
    for kind, own in labels.items():
        rows = [f"{text},{label}" for text, label in zip(texts, own, strict=True)]
        (found / TABLES[kind]).write_text("\n".join(["text,label", *rows]) + "\n")
    ended = run([*TORCHRUN, "2", str(WORKER), str(found)], 400)
    assert (ended.status, ended.left) == (0, []), ended.err[-3000:]
    return found


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, FinetuneResult]:
    """What one process makes of them."""
    return {kind: fine_tune(kind, folder, folder / "one" / kind) for kind in chosen(KINDS, EVERY)}


def told(folder: Path, name: str, rank: int) -> dict[str, Any]:
    return json.loads((folder / f"{name}-{rank}.json").read_text())


def assert_close(ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one == (other if isinstance(other, str) else pytest.approx(other, **CLOSE))


@pytest.mark.parametrize("kind", some(KINDS, EVERY))
@pytest.mark.slow
def test_two_processes_compute_what_one_does(kind, folder, alone):
    """Losses and gradients of every step, predictions, scores; with varied pictures and drawn negatives."""
    ours, first, second = alone[kind], told(folder, kind, 0), told(folder, kind, 1)
    for name, values in losses(folder / "one" / kind).items():
        assert first["losses"][name] == pytest.approx(values, **CLOSE), name
    assert_close(first["predictions"], [plain(one) for one in ours.predictions["test"]])
    assert len(first["predictions"]) == 10
    assert first["predictions"] == second["predictions"]
    assert first["looks"] == second["looks"]
    for mine, theirs in zip(ours.tuned.looks.values(), first["looks"], strict=True):
        assert mine == pytest.approx(theirs, **CLOSE)
    assert (first["scores"], second["scores"]) == (len(ours.scores), 0)
    scores = {name: score.value for name, score in ours.scores.items()}
    found = read_scores(folder / "two" / kind / METRICS)
    assert {name: found[name].value for name in scores} == pytest.approx(scores, **CLOSE)


def test_a_signal_to_one_process_stops_all_after_the_same_step(folder: Path) -> None:
    """The first one says it."""
    said = [told(folder, "said", rank)["interrupted"] for rank in range(2)]
    assert all("stopped after step 2" in one and "--resume" in one for one in said)
    assert [one.rpartition(" ")[2] for one in said] == ["NoneType", "PeerReportedError"]


def test_a_run_of_two_processes_goes_on_with_one(folder: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(folder / "two" / "interrupted", tmp_path / "out"))
    assert [read_state(path).world for path in list_checkpoints(out)] == [2]
    resumed = fine_tune(TEXTS, folder, out, resume=True, **LONG)
    whole = fine_tune(TEXTS, folder, tmp_path / "whole", **LONG)
    assert resumed.tuned.step == whole.tuned.step
    assert (best := resumed.tuned.best) == whole.tuned.best
    assert resumed.tuned.looks[best] == whole.tuned.looks[best]
    for name, values in losses(tmp_path / "whole").items():
        assert losses(out)[name] == pytest.approx(values, **CLOSE), name
    notes = [line["message"] for line in json_lines(out / "log.jsonl") if line.get("event") == "resumed"]
    assert any(note.endswith("it had 2 processes and now has 1.") for note in notes)


def test_what_is_refused_is_said_once(folder: Path) -> None:
    first, second = (told(folder, "said", rank)["refused"] for rank in range(2))
    assert first[0].startswith("UserError: batch_size is 1, which is divided among 2 processes")
    assert "--batch-size 2 at least" in first[0]
    assert "holds a finished run" in first[1]
    assert second == [one.replace("UserError", "PeerReportedError") for one in first]


# ---------------------------------------------------------------- parts of a batch
@pytest.mark.parametrize("kind", [kind for kind in chosen(KINDS, EVERY) if kind not in WHOLE])
def test_parts_of_a_batch_are_the_batch(kind, folder, alone, tmp_path):
    """Seven rows in three parts, of two and of three rows."""
    done = fine_tune(kind, folder, tmp_path, gradient_accumulation_steps=3)
    found = losses(tmp_path)
    for name, values in losses(folder / "one" / kind).items():
        assert found[name] == pytest.approx(values, **CLOSE), name
    ours, theirs = ([*map(plain, one.predictions["test"])] for one in (done, alone[kind]))
    assert_close(ours, theirs)


def test_a_contrast_over_a_batch_has_no_parts(folder: Path, tmp_path: Path) -> None:
    for kind in WHOLE:
        assert not task_spec(kind).task_class().in_parts
        with expect_refusal("gradient_accumulation_steps", kind, "torchrun"):
            fine_tune(kind, folder, tmp_path / "out", gradient_accumulation_steps=2)
    with expect_refusal("batch_size is 7", "gradient_accumulation_steps", "--batch-size 8"):
        fine_tune(TEXTS, folder, tmp_path / "out", gradient_accumulation_steps=8)


def test_the_command_is_one_run(folder: Path) -> None:
    """The first process says everything once, the other one nothing."""
    first, second = (told(folder, "said", rank)["command"] for rank in range(2))
    assert (first["status"], second["status"], second["out"]) == (0, 0, ""), first["err"]
    for said in ("Model: ", "Report: ", "Use it: ", "Verdict: "):
        assert first["out"].count(said) == 1
    told_of = "10 training, 10 validation, 10 test rows; at most 3 steps of 6 rows"
    assert (first["err"].count(told_of), second["err"].count(told_of)) == (1, 0)
    assert "shared by 2 processes" in first["err"]
    assert (folder / "command" / REPORT).exists()
    assert not (folder / "command" / ".xfm-lock").exists()
