import shlex
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import xfm
from tests.reports.written import json_lines
from xfm.cli.main import main
from xfm.config.finetune import FinetuneConfig
from xfm.config.training import Precision
from xfm.finetuning.early_stopping import ValidationMonitor
from xfm.training.failures import Interrupted

SAMPLES = Path(__file__).parents[2] / "docs" / "tutorials" / "samples"
FILES = {
    "text-classification": ("reviews.csv", ""),
    "sentence-similarity": ("answers.csv", ""),
    "image-classification": ("shapes.csv", ""),
    "image-text-classification": ("claims.csv", ""),
    "retrieval": ("captions.csv", ""),
    "vqa": ("questions.jsonl", "image=photo,question=q,answer=a"),
    "reasoning": ("pairs.jsonl", ""),
    "grounding": ("boxes.csv", ""),
    "captioning": ("captions.csv", ""),
}
"""The tutorials' sample of each task, and what its columns are called."""

TEXTS = "text-classification"
SHORT = FinetuneConfig(steps=6, evaluate_every=2, batch_size=4, device="cpu", precision=Precision.FP32)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A copy of the ten-row samples that may be damaged."""
    return Path(shutil.copytree(SAMPLES, tmp_path / "samples"))


def on_sample(kind, model, out, config=SHORT, folder=SAMPLES, **more):
    """Fine-tune on the sample of a task, or on its copy in another folder."""
    file, columns = FILES[kind]
    return on_table(model, folder / file, out, config, kind, columns=columns, **more)


def on_table(model, table, out, config=SHORT, kind=TEXTS, **more):
    """Fine-tune on a table without a word."""
    return xfm.finetune(kind, model, table, out, config=config, progress=False, **more)


def text_table(folder: Path, rows: Iterable[str], name: str = "a.csv") -> Path:
    """A table of texts with their labels."""
    path = folder / name
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


def photos(folder: Path) -> Path:
    """Ten pictures in two folders, which are their classes."""
    for number, picture in enumerate(sorted((SAMPLES / "pictures").iterdir())[:10]):
        target = folder / ("red", "blue")[number % 2] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)
    return folder


class Cli:
    """The command line, on the processor and without bars.

    Attributes:
        errors: what the last command said on stderr.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.errors = ""

    def prints(self, *words: object, status: int = 0) -> str:
        """What a command that ends well prints."""
        assert main([*map(str, words), "--quiet", "--device", "cpu"]) == status
        said = self.capsys.readouterr()
        self.errors = said.err
        return said.out

    def expect_refusal(self, named: Iterable[str], *words: object) -> None:
        """A command ends with one line that a user can mend it by, and that names these."""
        self.prints(*words, status=2)
        assert self.errors.startswith("xfm: ")
        assert self.errors.count("\n") == 1
        assert [name for name in named if name not in self.errors] == [], self.errors


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def answers(next_command: str) -> list[Any]:
    """What a model answers by the command that is shown, pasted into a shell."""
    xfm_itself, *words = shlex.split(next_command)
    assert xfm_itself == "xfm"
    assert main(words) == 0
    written = Path(words[words.index("--out") + 1])
    return [line["prediction"] for line in json_lines(written)]


@contextmanager
def after_step(monkeypatch, folder, at, act):
    """Something happens after a step of the run in a folder."""
    look = ValidationMonitor.finished

    def finished(watch: ValidationMonitor, done: int) -> bool:
        if done == at and watch.folder == folder:
            act()
        return look(watch, done)

    with monkeypatch.context() as patched:
        patched.setattr(ValidationMonitor, "finished", finished)
        yield


@contextmanager
def stopped(monkeypatch: pytest.MonkeyPatch, folder: Path, at: int) -> Iterator[None]:
    """Ctrl-C comes after a step of the run in a folder, and the run says how to go on."""
    interrupt = partial(signal.raise_signal, signal.SIGINT)
    with after_step(monkeypatch, folder, at, interrupt), pytest.raises(Interrupted, match="--resume"):
        yield
