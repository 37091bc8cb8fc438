"""The last line of a fine-tuning is a command that works as pasted."""

import html
import json
import shlex
import shutil
from pathlib import Path

import pytest

from tests.evaluation.tiny import write_world
from tests.finetuning.conftest import FILES, SAMPLES
from xfm.cli import main
from xfm.config.next_command import READ, command_line, common_folder, next_command
from xfm.inference.predict.sources import TABLES

SHORT = ["--steps", "1", "--batch-size", "4", "--precision", "fp32", "--device", "cpu", "--quiet"]


def pasted(shown: str) -> list[str]:
    (line,) = [line for line in shown.splitlines() if line.startswith("Use it:")]
    words = shlex.split(line.removeprefix("Use it:"))
    assert words[0] == "xfm"
    return words[1:]


@pytest.mark.parametrize("kind", list(FILES))
def test_the_last_line_can_be_pasted(
    kind: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, columns = FILES[kind]
    place = tmp_path / "my samples ($1)"
    shutil.copytree(SAMPLES, place)
    line = ["finetune", kind, "--model", str(model), "--train", str(place / file)]
    line += ["--columns", columns, "--out", str(tmp_path / "it's a run"), "--baseline", "false", *SHORT]
    assert main(line) == 0
    words = pasted(capsys.readouterr().out)
    details = json.loads((tmp_path / "it's a run" / "evaluation.json").read_text())
    assert shlex.split(details["next"])[1:] == words  # the report says the same
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


def test_captions_search_among_their_pictures_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not among everything below the table's folder, which is often that of all runs and worlds."""
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    shutil.copytree(SAMPLES / "pictures", tmp_path / "others")
    monkeypatch.chdir(tmp_path)
    line = ["finetune", "retrieval", "--model", str(model), "--train", "captions.csv", "--out", "run"]
    assert main([*line, "--baseline", "false", *SHORT]) == 0
    words = pasted(capsys.readouterr().out)
    assert words[words.index("--gallery") + 1] == "pictures"
    assert main(words) == 0
    line = next((tmp_path / "run" / "answers.jsonl").open())
    assert {Path(hit["image"]).parts[0] for hit in json.loads(line)["prediction"]} == {"pictures"}


def test_the_folder_of_all_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert common_folder([tmp_path / "a" / "b" / "1.png", tmp_path / "a" / "c" / "1.png"]) == Path("a")
    assert common_folder([Path("1.png"), Path("a/1.png")]) == Path(".")
    assert common_folder([Path("/x/y/1.png")]) == Path("/x/y")
    assert common_folder([]) == Path(".")


@pytest.mark.parametrize("kind", ["text-classification", "retrieval", "vqa"])
def test_scores_of_new_rows_end_with_a_command(
    kind: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, columns = FILES[kind]
    line = ["finetune", kind, "--model", str(model), "--train", str(SAMPLES / file), "--columns", columns]
    assert main([*line, "--out", str(tmp_path / "run"), "--baseline", "false", *SHORT]) == 0
    capsys.readouterr()
    rows = ["--test", str(SAMPLES / file), "--columns", columns, "--out", str(tmp_path / "my scores")]
    assert main(["evaluate", str(tmp_path / "run"), *rows, "--device", "cpu", "--quiet"]) == 0
    words = pasted(capsys.readouterr().out)
    assert shlex.join(["xfm", *words]) in html.unescape((tmp_path / "my scores" / "report.html").read_text())
    assert main(words) == 0
    assert len((tmp_path / "my scores" / "answers.jsonl").read_text().splitlines()) == 10


def test_an_evaluation_ends_with_a_command(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, out = write_world(tmp_path / "my world"), tmp_path / "out"
    line = ["evaluate", str(model), "--world", str(world), "--out", str(out), "--parts", "retrieval"]
    assert main([*line, "--scale", "0.01", "--device", "cpu", "--quiet"]) == 0
    assert main(pasted(capsys.readouterr().out)) == 0
    assert (out / "vectors.jsonl").read_text()


def test_commands_are_quoted() -> None:
    assert command_line("evaluate", Path("a b"), world="$w", out=None) == "xfm evaluate 'a b' --world '$w'"
