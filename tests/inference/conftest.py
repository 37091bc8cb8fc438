from collections.abc import Callable
from pathlib import Path

import pytest

import xfm
from tests.inference.models import NEEDS, TASKS, pictures, save, tuned
from tests.inference.support import Folders, Models, Pipe, Said
from xfm.cli.main import main


@pytest.fixture(scope="session")
def models() -> Models:
    """One of each kind, in memory."""
    return {kind: tuned(kind) for kind in (None, *TASKS)}


@pytest.fixture(scope="session")
def folders(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """One of each kind, as a folder."""
    place = tmp_path_factory.mktemp("models")
    return {kind: save(place / str(kind or "pretrained"), found) for kind, found in models.items()}


@pytest.fixture
def classify(models: Models) -> Pipe:
    return xfm.pipeline("text-classification", model=models["text-classification"], batch_size=3)


@pytest.fixture
def ask(models: Models) -> Pipe:
    return xfm.pipeline("visual-question-answering", model=models["vqa"], batch_size=2)


@pytest.fixture
def judge(models: Models) -> Pipe:
    return xfm.pipeline("visual-reasoning", model=models["reasoning"])


@pytest.fixture
def embed(models: Models) -> Pipe:
    return xfm.pipeline("embed", model=models[None], batch_size=2)


@pytest.fixture
def search(models: Models) -> Pipe:
    return xfm.pipeline("retrieval", model=models[None], batch_size=2)


@pytest.fixture
def command(folders: Folders, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`xfm predict` for a task, with a model that can do it, and more options."""

    def run(task: str, *more: object) -> Said:
        capsys.readouterr()
        status = main(["predict", task, "--model", str(folders[NEEDS[task]]), *map(str, more)])
        return Said(status, *capsys.readouterr())

    return run


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A picture in the working folder."""
    monkeypatch.chdir(tmp_path)
    pictures(1)[0].save("cat.png")
    return "cat.png"
