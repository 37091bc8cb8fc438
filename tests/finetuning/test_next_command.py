"""The last line of a fine-tuning is a command that works as pasted."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from tests.finetuning.conftest import FILES, SAMPLES
from xfm.cli import main
from xfm.config.next_command import READ, command_line, next_command
from xfm.config.task import TaskKind
from xfm.inference.predict.sources import TABLES

SHORT = ["--steps", "1", "--batch-size", "4", "--precision", "fp32", "--device", "cpu", "--quiet"]


def pasted(shown: str) -> list[str]:
    (line,) = [line for line in shown.splitlines() if line.startswith("Use it:")]
    words = shlex.split(line.removeprefix("Use it:"))
    assert words[0] == "xfm"
    return words[1:]


@pytest.mark.parametrize("kind", list(TaskKind))
def test_the_last_line_can_be_pasted(
    kind: TaskKind, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, columns = FILES[kind]
    place = tmp_path / "my samples ($1)"
    shutil.copytree(SAMPLES, place)
    line = ["finetune", kind.value, "--model", str(model), "--train", str(place / file)]
    line += ["--columns", columns, "--out", str(tmp_path / "it's a run"), "--baseline", "false", *SHORT]
    assert main(line) == 0
    words = pasted(capsys.readouterr().out)
    details = json.loads((tmp_path / "it's a run" / "evaluation.json").read_text())
    assert shlex.split(details["next"]) == ["xfm", *words]  # the report shows the same one
    assert main(words) == 0
    answers = Path(words[words.index("--out") + 1])
    assert answers.parent == tmp_path / "it's a run"
    assert len([json.loads(row)["prediction"] for row in answers.read_text().splitlines()]) == 10


def test_a_folder_of_pictures_can_be_pasted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = sorted((SAMPLES / "pictures").iterdir())
    for number, picture in enumerate(pictures[:10]):
        target = tmp_path / "photos" / ("a", "b")[number % 2] / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)
    line = ["finetune", "image-classification", "--model", str(model), "--train", str(tmp_path / "photos")]
    assert main([*line, "--out", str(tmp_path / "out"), "--baseline", "false", *SHORT]) == 0
    assert main(pasted(capsys.readouterr().out)) == 0
    assert len((tmp_path / "out" / "answers.jsonl").read_text().splitlines()) == 10


def test_columns_of_a_question_are_taken_over() -> None:
    said = next_command("text-classification", "m", "a.csv", "o", "text=my review, label=stars", "pics")
    assert said == (
        "xfm predict text-classification --model m --input a.csv --columns 'text=my review' --pictures pics "
        "--out o/answers.jsonl"
    )
    said = next_command("vqa", "m", "hub:owner/name", "o", "question=q,answer=a")
    assert said == "xfm predict vqa --model m --input new.csv --columns question=q --out o/answers.jsonl"
    assert "--columns left=l,right=r" in next_command(
        "reasoning", "m", "a.csv", "o", "left=l,right=r,label=x"
    )


def test_a_table_that_is_no_file_here_names_no_folder_of_its_own() -> None:
    said = next_command("retrieval", "m", "hub:owner/name", "o", "caption=c")
    assert said == (
        "xfm predict retrieval --model m --input new.csv --gallery photos --columns text=c,image=none "
        "--out o/answers.jsonl"
    )


def test_tables_are_those_that_predict_reads() -> None:
    assert sorted(READ) == sorted(TABLES)


def test_commands_are_quoted() -> None:
    assert command_line("evaluate", Path("a b"), world="$w", out=None) == "xfm evaluate 'a b' --world '$w'"
