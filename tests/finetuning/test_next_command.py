"""The last line of a fine-tuning is a command that works as pasted."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluation.tiny import write_world
from tests.finetuning.conftest import SAMPLES, Cli, answers, photos
from xfm.config.next_command import command_line, common_folder, next_command

SHORT = ("--steps", 1, "--batch-size", 4, "--precision", "fp32", "--baseline", "false")


def shown_by(cli: Cli, *words: object) -> str:
    """The command that a command ends with."""
    (line,) = [line for line in cli.prints(*words).splitlines() if line.startswith("Use it:")]
    return line.removeprefix("Use it:")


def test_a_folder_of_pictures_can_be_pasted(model: Path, tmp_path: Path, cli: Cli) -> None:
    given = ("--model", model, "--train", photos(tmp_path / "photos"), "--out", tmp_path / "out", *SHORT)
    assert len(answers(shown_by(cli, "finetune", "image-classification", *given))) == 10


@pytest.mark.parametrize("inside", [False, True])
def test_a_command_works_where_xfm_is_not_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inside: bool
) -> None:
    """After `make`, nobody has activated the environment: its program is named by its path."""
    bin_folder = Path(sys.executable).parent
    assert command_line("--version") == "xfm --version"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(bin_folder.parent.parent if inside else tmp_path)
    words = shlex.split(command_line("--version"))
    own = bin_folder.relative_to(Path.cwd()) if inside else bin_folder
    assert words == [f"{own}/xfm", "--version"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.startswith("xfm ")


@pytest.mark.parametrize(
    ("task", "given", "said"),
    [
        (
            "text-classification",
            ("a.csv", "text=my review, label=stars", "pics"),
            "a.csv --columns 'text=my review' --pictures pics",
        ),
        ("vqa", ("hub:owner/name", "question=q,answer=a"), "new.csv --columns question=q"),
        ("reasoning", ("a.csv", "left=l,right=r,label=x"), "a.csv --columns left=l,right=r"),
        ("retrieval", ("hub:a/b", "caption=c"), "new.csv --gallery photos --columns text=c,image="),
    ],
    ids=["a text", "a table that is no file here", "two pictures", "captions of such a table"],
)
def test_columns_of_a_question_are_taken_over(task: str, given: tuple[str, ...], said: str) -> None:
    table, *more = given
    found = next_command(task, "m", table, "o", *more)
    assert found == f"xfm predict {task} --model m --input {said} --out o/answers.jsonl"


def test_captions_search_among_their_pictures_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    """Not among everything below the table's folder, which is often that of all runs and worlds."""
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    shutil.copytree(SAMPLES / "pictures", tmp_path / "others")
    monkeypatch.chdir(tmp_path)
    given = ("--model", model, "--train", "captions.csv", "--out", "run", *SHORT)
    command = shown_by(cli, "finetune", "retrieval", *given)
    assert "--gallery pictures " in command
    assert {Path(hit["image"]).parts[0] for hit in answers(command)[0]} == {"pictures"}


@pytest.mark.parametrize(
    ("pictures", "folder"),
    [
        (["HERE/a/b/1.png", "HERE/a/c/1.png"], "a"),
        (["1.png", "a/1.png"], "."),
        (["/x/y/1.png"], "/x/y"),
        ([], "."),
    ],
)
def test_the_folder_of_all_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: list[str], folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert common_folder([Path(one.replace("HERE", str(tmp_path))) for one in pictures]) == Path(folder)


def test_an_evaluation_ends_with_a_command(model: Path, tmp_path: Path, cli: Cli) -> None:
    world, out = write_world(tmp_path / "my world"), tmp_path / "out"
    given = (model, "--world", world, "--out", out, "--parts", "retrieval", "--scale", 0.01)
    assert answers(shown_by(cli, "evaluate", *given))


def test_commands_are_quoted() -> None:
    assert command_line("evaluate", Path("a b"), world="$w", out=None) == "xfm evaluate 'a b' --world '$w'"
