import os
import shlex
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import xfm
from tests.evaluation.tiny import save_tiny_model
from tests.reports.written import json_lines
from xfm.cli import main
from xfm.config.finetune import FinetuneConfig
from xfm.config.training import Precision
from xfm.finetuning.from_rows import FinetuneResult
from xfm.finetuning.watch import Watch
from xfm.training.signals import Interrupted

SAMPLES = Path(__file__).parents[2] / "docs" / "tutorials" / "samples"
FILES = {
    "text-classification": ("reviews.csv", ""),
    "image-classification": ("shapes.csv", ""),
    "image-text-classification": ("claims.csv", ""),
    "retrieval": ("captions.csv", ""),
    "vqa": ("questions.jsonl", "image=photo,question=q,answer=a"),
    "reasoning": ("pairs.jsonl", ""),
    "grounding": ("boxes.csv", ""),
    "captioning": ("captions.csv", ""),
}
"""The tutorials' sample of each task, and what its columns are called."""

SHORT = FinetuneConfig(steps=6, batch_size=4, device="cpu", precision=Precision.FP32)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A copy of the ten-row samples that may be damaged."""
    return Path(shutil.copytree(SAMPLES, tmp_path / "samples"))


def on_sample(
    kind: str,
    model: Path,
    out: Path,
    config: FinetuneConfig = SHORT,
    folder: Path = SAMPLES,
    **more: Any,
) -> FinetuneResult:
    """Fine-tune on the sample of a task, or on its copy in another folder."""
    file, columns = FILES[kind]
    return on_table(model, folder / file, out, config, kind, columns=columns, **more)


def on_table(
    model: Path,
    table: Path,
    out: Path,
    config: FinetuneConfig = SHORT,
    kind: str = "text-classification",
    **more: Any,
) -> FinetuneResult:
    """Fine-tune on a table without a word."""
    return xfm.finetune(kind, model, table, out, config=config, progress=False, **more)


def text_table(folder: Path, rows: Iterable[str], name: str = "a.csv") -> Path:
    """A table of texts with their labels."""
    path = folder / name
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


def refused(
    capsys: pytest.CaptureFixture[str], words: Iterable[str], command: str, *arguments: object
) -> None:
    """A command ends with one line that a user can mend it by; it holds the words."""
    assert main([command, *map(str, arguments), "--quiet", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("xfm: ")
    assert error.count("\n") == 1
    assert [word for word in words if word not in error] == [], error


def done(capsys: pytest.CaptureFixture[str], command: str, *arguments: object) -> str:
    """What a command that ends well prints."""
    assert main([command, *map(str, arguments), "--quiet", "--device", "cpu"]) == 0
    return capsys.readouterr().out


def answers(next_command: str) -> list[Any]:
    """What a model answers by the command that is shown, pasted into a shell."""
    xfm_itself, *words = shlex.split(next_command)
    assert xfm_itself == "xfm"
    assert main(words) == 0
    written = Path(words[words.index("--out") + 1])
    return [line["prediction"] for line in json_lines(written)]


@contextmanager
def stopped(monkeypatch: pytest.MonkeyPatch, folder: Path, at: int) -> Iterator[None]:
    """Ctrl-C comes after a step of the run in a folder, and the run says how to go on."""
    look = Watch.finished

    def interrupt(watch: "Watch[Any, Any, Any]", done: int) -> bool:
        if done == at and watch.folder == folder:
            os.kill(os.getpid(), signal.SIGINT)
        return look(watch, done)

    with monkeypatch.context() as patched:
        patched.setattr(Watch, "finished", interrupt)
        with pytest.raises(Interrupted, match="--resume"):
            yield


@contextmanager
def killed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run ends after its last step and before it is saved."""

    def end(watch: "Watch[Any, Any, Any]") -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Watch, "restore", end)
        with pytest.raises(KeyboardInterrupt):
            yield
