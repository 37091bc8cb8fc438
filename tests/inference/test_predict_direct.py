"""`xfm predict` without a table: one picture, fields as options, standard input; answers are printed."""

import io
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import xfm
from tests.alike import some
from tests.inference.models import EVERY, NEEDS, texts
from tests.inference.support import Command, Models, lines, photos, same
from xfm.cli.main import main
from xfm.config.task_spec import FieldKind
from xfm.config.tasks import task_spec

Stdin = Callable[[str | bytes], None]
TEXT, LOOK = "text-classification", "image-classification"


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Stdin:
    """Puts something into standard input."""

    def put(content: str | bytes) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return put


@pytest.mark.parametrize("task", some(EVERY, 2))
def test_every_task_answers_its_fields(task: str, models: Models, photo: str, command: Command) -> None:
    """The options are the fields of the task, and the answer is the pipeline's."""
    inputs = task_spec(task).inputs
    said = "a <mask> square" if task == "fill-mask" else "a red square"
    one: dict[str, Any] = {}
    for field in [field for field in inputs if not field.optional] or inputs[:1]:
        value = said if field.holds is FieldKind.TEXT else photo
        one |= dict.fromkeys(field.parts or (field.name,), value)
    more: list[object] = []
    options: dict[str, Any] = {}
    if task == "retrieval":
        photos(Path("many"), 3)
        more, options = ["--gallery", "many"], {"images": "many"}
    if task == "zero-shot-image-classification":
        more, options = ["--candidate-labels", "red, dark blue"], {"candidate_labels": ["red", "dark blue"]}
    given = [word for name, value in one.items() for word in (f"--{name.replace('_', '-')}", value)]
    (line,) = command(task, *given, *more).rows
    assert line.keys() == {"row", "prediction"}
    expected = xfm.pipeline(task, model=models[NEEDS[task]])(**one, **options)
    expected = expected.tolist() if task == "embed" else expected
    if task == "retrieval":
        line["prediction"] = [{**hit, "image": Path(hit["image"]).name} for hit in line["prediction"]]
        expected = [{**hit, "image": Path(hit["image"]).name} for hit in expected]
    same(line["prediction"], expected)


def test_other_names_of_fields_are_options_too(photo: str, command: Command) -> None:
    seconds = ("--text_pair", "--text-pair", "--second")
    first, *others = [command(TEXT, "--text", "123", second, "null").rows for second in seconds]
    assert others == [first, first]
    refused = command(TEXT, "--text", "a", "--text-pair", "b", "--second", "c").refusal
    assert "the field text_pair is given twice" in refused
    phrases, more = ("--text", "--phrase"), ("it", "--draw", "drawn")
    first, second = [command("grounding", "--image", photo, phrase, *more).rows for phrase in phrases]
    assert first == second
    assert [path.name for path in Path("drawn").glob("*.jpg")] == ["1.jpg"]


def test_tables_and_folders_are_printed_too(photo: str, command: Command) -> None:
    Path("rows.csv").write_text("text,id\na red square,7\nit is blue,8\n")
    given = [TEXT, "--input", "rows.csv", "--keep", "id"]
    printed = command(*given).rows
    assert command(*given, "--out", "out.jsonl", "--quiet").status == 0
    assert printed == lines(Path("out.jsonl"))
    assert [row["id"] for row in printed] == ["7", "8"]
    assert [row["image"] for row in command("embed", "--input", ".").rows] == [photo]


def test_lines_of_standard_input(models: Models, photo: str, piped: Stdin, command: Command) -> None:
    said = texts(7)
    expected = xfm.pipeline(TEXT, model=models[TEXT])(said)
    given = [TEXT, "--input", "-", "--batch-size", 1]
    piped("\n".join(said) + "\n")
    found = command(*given)
    same([row["prediction"] for row in found.rows], expected)
    assert found.error == "Note: standard input is read as lines of text, one input a line.\n"
    rows = [{"text": text, "id": number} for number, text in enumerate(said)]
    piped("\n\n" + "\n".join(map(json.dumps, rows)))  # no line break at the end
    found = command(*given, "--keep", "id")
    same([row["prediction"] for row in found.rows], expected)
    assert [(row["row"], row["id"]) for row in found.rows] == [(number + 3, number) for number in range(7)]
    assert found.error == "Note: standard input is read as JSON lines.\n"
    piped(f"{photo}\r\n")
    found = command(LOOK, "--input", "-")
    assert len(found.rows) == 1
    assert "as paths of pictures, one input a line" in found.error


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("", "", "standard input holds no rows"),
        (b"a\n\xff\n", "--max-bad 0", "standard input:2: the line is not UTF-8"),
        ('{"text": "a"}\n["b"]\n', "--max-bad 0", "standard input:2: the row is not a JSON object"),
        ("a\n", "--keep id", "--keep is for tables and JSON lines; leave it out"),
    ],
)
def test_what_standard_input_cannot_be(
    piped: Stdin, command: Command, content: str | bytes, options: str, words: str
) -> None:
    piped(content)
    found = command(TEXT, "--input", "-", *options.split())
    assert found.status == 2
    assert words in found.error
    assert len(found.out.splitlines()) == (":2:" in words)  # the row before it is answered


def test_a_stream_goes_on_in_a_file(piped: Stdin, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "out.jsonl"
    given = [TEXT, "--input", "-", "--out", out, "--quiet"]
    for content, answered in (("a\nb\n", 2), ("a\nb\nc\n", 3)):
        piped(content)
        assert f"{answered} rows are answered in" in command(*given).out
        assert [row["row"] for row in lines(out)] == [*range(1, answered + 1)]
    piped("a\nother\nc\nd\n")
    assert "out.jsonl holds answers of standard input" in command(*given).error
    assert len(lines(out)) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("embed", "required: --model"),
        ("captioning --beam 3 --model m", "unknown option --beam; did you mean --beams"),
        ("embed --model m", "give --input FILE, or one of --text 'a text' or --image a.png"),
        ("vqa --model m --image a.png", "the field question is missing; an input has image, question"),
        ("embed --model m --input a.csv --text b", "give either --input or --text, not both"),
        ("embed --model m --image https://a.b/c.png", "are fetched with --allow-urls only"),
        ("retrieval --model m --text b", "give --gallery"),
    ],
)
def test_mistakes_are_one_line(arguments: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are told before a model is read: there is none here."""
    assert main(["predict", *shlex.split(arguments)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line


def test_a_terminal_obeys_nothing_that_a_row_holds(tmp_path: Path, command: Command) -> None:
    """JSON escapes what begins with an escape; other letters steer a terminal, too, or turn what is read."""
    odd = "\u009b2J\u202egood\u2066\U000e0001 \u00e9\u4e2d"
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "a", "id": odd}) + "\n")
    found = command(TEXT, "--input", tmp_path / "rows.jsonl", "--keep", "id")
    (line,) = found.out.splitlines()
    assert line.isprintable()
    assert found.rows[0]["id"] == odd
