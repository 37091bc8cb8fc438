"""`xfm predict` without a table: one picture, fields as options, standard input; answers are printed."""

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import xfm
from tests.inference.models import EVERY, NEEDS, pictures, texts
from tests.inference.support import Folders, Models, lines, photos, run, same
from xfm.config.task_spec import Holds
from xfm.config.tasks import task_spec

Shell = pytest.CaptureFixture[str]


def shown(capsys: Shell) -> list[dict[str, Any]]:
    """What a program reads from standard output."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def piped(monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (picture,) = pictures(1)
    picture.save("cat.png")
    return "cat.png"


@pytest.mark.parametrize("task", EVERY)
def test_every_task_answers_its_fields(
    task: str, models: Models, folders: Folders, photo: str, capsys: Shell
) -> None:
    """The options are the fields of `FIELDS`, and the answer is the pipeline's."""
    fields = [field for field in task_spec(task).inputs if not field.optional] or [
        *task_spec(task).inputs[:1]
    ]
    said = "a <mask> square" if task == "fill-mask" else "a red square"
    one: dict[str, Any] = {}
    for field in fields:
        if field.parts:
            one |= dict.fromkeys(field.parts, photo)
        else:
            one[field.name] = said if field.holds is Holds.TEXT else photo
    more: list[object] = []
    options: dict[str, Any] = {}
    if task == "retrieval":
        photos(Path("many"), 3)
        more, options = ["--gallery", "many"], {"images": "many"}
    if task == "zero-shot-image-classification":
        more, options = ["--candidate-labels", "red, dark blue"], {"candidate_labels": ["red", "dark blue"]}
    given = [word for name, value in one.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert run(task, "--model", folders[NEEDS[task]], *given, *more) == 0
    (line,) = shown(capsys)
    assert line.keys() == {"row", "prediction"}
    expected = xfm.pipeline(task, model=models[NEEDS[task]])(**one, **options)
    expected = expected.tolist() if task == "embed" else expected
    if task == "retrieval":
        line["prediction"] = [{**hit, "image": Path(hit["image"]).name} for hit in line["prediction"]]
        expected = [{**hit, "image": Path(hit["image"]).name} for hit in expected]
    same(line["prediction"], expected)


def test_other_names_of_fields_are_options_too(folders: Folders, photo: str, capsys: Shell) -> None:
    text, grounding = folders["text-classification"], folders["grounding"]
    for second in ("--text_pair", "--text-pair", "--second"):
        assert run("text-classification", "--model", text, "--text", "123", second, "null") == 0
    first, *others = shown(capsys)
    assert others == [first, first]
    for phrase in ("--text", "--phrase"):
        assert run("grounding", "--model", grounding, "--image", photo, phrase, "it", "--draw", "drawn") == 0
    first, second = shown(capsys)
    assert first == second
    assert [path.name for path in Path("drawn").glob("*.jpg")] == ["1.jpg"]


def test_printed_answers_are_drawn_over_no_other_pictures(
    folders: Folders, photo: str, capsys: Shell
) -> None:
    Path("mine").mkdir()
    Path("mine/1.jpg").write_bytes(b"my own")
    words = ["grounding", "--model", folders["grounding"], "--image", photo, "--text"]
    assert run(*words, "it", "--draw", "mine") == 2
    assert "--draw mine holds something else" in capsys.readouterr().err
    assert Path("mine/1.jpg").read_bytes() == b"my own"
    assert [run(*words, text, "--draw", "drawn") for text in ("it", "it", "her")] == [0, 0, 2]
    assert "drawn-2" in capsys.readouterr().err


def test_one_picture_is_an_input(models: Models, folders: Folders, photo: str, capsys: Shell) -> None:
    """Whatever it is called."""
    look = xfm.pipeline("image-classification", model=models["image-classification"])
    Path("photo").write_bytes(Path(photo).read_bytes())
    given = ["image-classification", "--model", folders["image-classification"]]
    for name in (photo, "photo"):
        assert run(*given, "--input", name) == 0
        (line,) = shown(capsys)
        same(line["prediction"], look(name))
    for name, content, words in (
        ("broken.png", b"no picture", "broken.png: the picture"),
        ("absent.jpg", None, "absent.jpg"),
        ("notes.txt", b"some words", "is neither a picture nor a file of .jsonl, .ndjson"),
    ):
        if content is not None:
            Path(name).write_bytes(content)
        assert run(*given, "--input", name) == 2
        assert words in (error := capsys.readouterr().err)
        assert len(error.splitlines()) == 1
    assert run("vqa", "--model", folders["vqa"], "--input", photo) == 2
    assert f"--image {photo} --question 'a text'" in capsys.readouterr().err


def test_tables_and_folders_are_printed_too(folders: Folders, photo: str, capsys: Shell) -> None:
    Path("rows.csv").write_text("text,id\na red square,7\nit is blue,8\n")
    given = [
        "text-classification",
        "--model",
        folders["text-classification"],
        "--input",
        "rows.csv",
        "--keep",
        "id",
    ]
    assert run(*given) == 0
    printed = shown(capsys)
    assert run(*given, "--out", "out.jsonl", "--quiet") == 0
    assert printed == lines(Path("out.jsonl"))
    assert [row["id"] for row in printed] == ["7", "8"]
    capsys.readouterr()
    assert run("embed", "--model", folders[None], "--input", ".") == 0
    assert [row["image"] for row in shown(capsys)] == [photo]


def test_lines_of_standard_input(
    models: Models, folders: Folders, photo: str, monkeypatch: pytest.MonkeyPatch, capsys: Shell
) -> None:
    said = texts(7)
    expected = xfm.pipeline("text-classification", model=models["text-classification"])(said)
    given = [
        "text-classification",
        "--model",
        folders["text-classification"],
        "--input",
        "-",
        "--batch-size",
        1,
    ]
    piped(monkeypatch, "\n".join(said) + "\n")
    assert run(*given) == 0
    out, error = capsys.readouterr()
    same([json.loads(line)["prediction"] for line in out.splitlines()], expected)
    assert error == "Note: standard input is read as lines of text, one input a line.\n"
    rows = [{"text": text, "id": number} for number, text in enumerate(said)]
    piped(monkeypatch, "\n\n" + "\n".join(map(json.dumps, rows)))  # no line break at the end
    assert run(*given, "--keep", "id") == 0
    out, error = capsys.readouterr()
    printed = [json.loads(line) for line in out.splitlines()]
    same([row["prediction"] for row in printed], expected)
    assert [(row["row"], row["id"]) for row in printed] == [(number + 3, number) for number in range(7)]
    assert error == "Note: standard input is read as JSON lines.\n"
    piped(monkeypatch, f"{photo}\r\n")
    assert run("image-classification", "--model", folders["image-classification"], "--input", "-") == 0
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert "as paths of pictures, one input a line" in error


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("", [], "standard input holds no rows"),
        ("\n \n", [], "standard input holds no rows"),
        (b"a\n\xff\n", ["--max-bad", "0"], "standard input:2: the line is not UTF-8"),
        ('{"text": "a"}\n["b"]\n', ["--max-bad", "0"], "standard input:2: the row is not a JSON object"),
        (
            '{"text": "a"}\n{"txt": "b"}\n',
            ["--max-bad", "0"],
            'standard input:2: the column "text" is missing',
        ),
        ("a\n", ["--keep", "id"], "--keep is for tables and JSON lines; leave it out"),
        ("a\n", ["--columns", "text=q"], "--columns is for tables and JSON lines; leave it out"),
    ],
)
def test_what_standard_input_cannot_be(
    folders: Folders,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Shell,
    content: str | bytes,
    options: list[str],
    words: str,
) -> None:
    piped(monkeypatch, content)
    given = ["text-classification", "--model", folders["text-classification"], "--input", "-", *options]
    assert run(*given) == 2
    out, error = capsys.readouterr()
    assert words in error
    assert len(out.splitlines()) == (":2:" in words)  # the row before it is answered


def test_tasks_of_several_fields_need_json_lines(
    folders: Folders, photo: str, monkeypatch: pytest.MonkeyPatch, capsys: Shell
) -> None:
    given = ["vqa", "--model", folders["vqa"], "--input", "-"]
    piped(monkeypatch, "what is it\n")
    assert run(*given) == 2
    words = 'standard input: give JSON lines such as {"image": "a.png", "question": "a text"}'
    assert words in capsys.readouterr().err
    piped(monkeypatch, json.dumps({"image": photo, "question": "what is it"}))
    assert run(*given) == 0
    assert len(shown(capsys)) == 1


def test_bad_lines_may_be_passed_over(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Shell
) -> None:
    piped(monkeypatch, '{"text": "a"}\nnonsense\n{"text": "b"}\n')
    given = ["text-classification", "--model", folders["text-classification"], "--input", "-"]
    assert run(*given) == 0
    out, error = capsys.readouterr()
    assert [json.loads(line)["row"] for line in out.splitlines()] == [1, 3]
    assert "xfm: standard input:2: the row is not valid JSON" in error
    assert "1 of 3 rows could not be answered" in error


def test_a_stream_goes_on_in_a_file(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Shell
) -> None:
    out = tmp_path / "out.jsonl"
    given = ["text-classification", "--model", folders["text-classification"], "--input", "-", "--out", out]
    for content, answered in (("a\nb\n", 2), ("a\nb\nc\n", 3)):
        piped(monkeypatch, content)
        assert run(*given, "--quiet") == 0
        assert f"{answered} rows are answered in" in capsys.readouterr().out
        assert [row["row"] for row in lines(out)] == [*range(1, answered + 1)]
    piped(monkeypatch, "a\nother\nc\nd\n")
    assert run(*given, "--quiet") == 2
    assert "out.jsonl holds answers with input" in capsys.readouterr().err
    assert len(lines(out)) == 3


def test_one_input_goes_into_a_file(folders: Folders, photo: str, capsys: Shell) -> None:
    given = [
        "text-classification",
        "--model",
        folders["text-classification"],
        "--out",
        "out.jsonl",
        "--quiet",
    ]
    assert run(*given, "--text", "a red square") == 0
    assert run(*given, "--text", "a red square") == 0
    assert "(1 of them by earlier runs)" in capsys.readouterr().out
    assert run(*given, "--text", "a blue square") == 2
    assert "out.jsonl holds answers with input" in capsys.readouterr().err
    assert len(lines(Path("out.jsonl"))) == 1
    before = Path(photo).read_bytes()
    look = [
        "image-classification",
        "--model",
        folders["image-classification"],
        "--out",
        photo,
        "--restart",
    ]
    for source in (["--image", photo], ["--input", photo]):
        assert run(*look, *source) == 2
        assert "is read, and" in capsys.readouterr().err
    assert Path(photo).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("vqua", "unknown task vqua; did you mean vqa"),
        ("image-clasification", "did you mean image-classification"),
        ("embed", "required: model"),
        ("", "required: task"),
        ("captioning --beam 3 --model m", "unknown option --beam; did you mean --beams"),
        ("captioning --model m --input i --out o --beams 0", "beams is 0"),
        ("embed --model m", "give --input FILE, or one of --text 'a text' or --image a.png"),
        ("vqa --model m", "give --input FILE, or --image a.png --question 'a text'"),
        ("visual-reasoning --model m", "or --left left.png --right right.png --text 'a text'"),
        ("vqa --model m --image a.png", "--question is missing: give --input FILE, or --image a.png"),
        ("visual-reasoning --model m --left a.png --text b", "--right is missing: give --input"),
        ("embed --model m --input a.csv --text b", "give either --input or --text, not both"),
        ("embed --model m --text b --image a.png", "one of --text 'a text' or --image a.png"),
        ("embed --model m --input ' '", "--input is empty; give a file or folder"),
        ("text-classification --model m --text ' '", "--text is empty"),
        ("embed --model m --text b --keep id", "--keep is for tables and JSON lines; leave it out"),
        ("embed --model m --text b --restart", "--restart is for a file of answers; give --out, or leave"),
        ("embed --model m --text b --out o --resume --restart", "give one of them"),
        ("embed --model m --image https://a.b/c.png", "are fetched with --allow-urls only"),
        ("text-classification --model m --text https://a.b/c", "m is no model folder"),  # a text
        ("image-classification --model m --question b", "unknown option --question"),
        ("retrieval --model m --text b", "give --gallery"),
        ("embed --model m --text b --precision fp16", "precision is 'fp16'; choose one of auto, fp32, bf16"),
    ],
)
def test_mistakes_are_one_line(arguments: str, words: str, capsys: Shell) -> None:
    """They are told before a model is read: there is none here."""
    assert run(*shlex.split(arguments)) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_real_pipe(folders: Folders, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xfm.cli", "predict", "text-classification", "--model"]
    command += [str(folders["text-classification"]), "--input", "-", "--top-k", "1"]
    done = subprocess.run(
        command, input="good\nbad\n", capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert [json.loads(line)["row"] for line in done.stdout.splitlines()] == [1, 2]
    assert not [*tmp_path.iterdir()]


def test_a_kept_column_that_no_row_has_is_told(folders: Folders, tmp_path: Path, capsys: Shell) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n{"text": "b", "id": 7}\n')
    given = ["text-classification", "--model", folders["text-classification"], "--input", rows, "--keep"]
    assert run(*given, "id") == 0
    assert capsys.readouterr().err == ""
    assert run(*given, "id,nothing") == 0
    assert "no row has nothing, which --keep names: it is null in every answer" in capsys.readouterr().err
