"""Whole files: every row once, whatever happened on the way."""

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xfm
from tests.inference.models import pictures, texts, tuned
from tests.inference.support import Command, Folders, Pipe, lines, photos, same, write_lines
from tests.processes import XFM, run
from tests.refusals import expect_refusal
from xfm.config.pipelines import TopK
from xfm.config.tasks import TEXT_CLASSIFICATION
from xfm.core.errors import UserError
from xfm.data.tables import ColumnMap
from xfm.inference.answer_file import bad_file, settings_file
from xfm.inference.prediction import predict
from xfm.inference.row_sources import ReadOptions


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_rows_are_answered_as_the_pipeline_answers(ask: Pipe, tmp_path: Path, kind: str) -> None:
    names = photos(tmp_path / "photos", 3)
    rows = [
        {"id": f"q{n}", "photo": f"photos/{names[n % 3]}", "question": f'{text},\n"{n}"?'}
        for n, text in enumerate(texts(11))
    ]
    source = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        write_lines(source, [row for pair in zip(rows, [""] * 11, strict=True) for row in pair])
    elif kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), source)
    else:
        with source.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, [*rows[0]])
            table.writeheader()
            table.writerows(rows)
    reading = ReadOptions(ask.spec.inputs, ColumnMap({"image": "photo"}), ("id",))
    found = predict(ask, source, tmp_path / "out.jsonl", reading=reading)
    assert (found.answered, found.before, found.skipped) == (11, 0, 0)
    written = lines(tmp_path / "out.jsonl")
    assert [row["id"] for row in written] == [row["id"] for row in rows]
    first = {"jsonl": 1, "parquet": 1}.get(kind, 2)
    step = {"parquet": 1}.get(kind, 2)  # a question has two lines; between JSON rows there is an empty line
    assert [row["row"] for row in written] == [*range(first, first + 11 * step, step)]
    expected = ask([{"image": tmp_path / row["photo"], "question": row["question"]} for row in rows])
    same([row["prediction"] for row in written], expected)
    assert not bad_file(tmp_path / "out.jsonl").exists()


BAD = {4: "not json", 9: '{"other": "a"}', 10: '["a"]', 17: '{"text": "  "}', 18: '{"text": ["a"]}'}


def rows_with_bad(path: Path, bad: dict[int, str]) -> Path:
    good = iter(texts(30, seed=3))
    return write_lines(path, [bad.get(line) or {"text": next(good)} for line in range(1, 21)])


@given(st.integers(0, 10_000), st.integers(0, 400), st.booleans())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_run_that_was_killed_at_any_byte_goes_on(
    classify: Pipe, tmp_path: Path, cut: int, log_cut: int, log_first: bool
) -> None:
    """Whatever a kill leaves of the two files: the next run ends as one that was not killed."""
    source, out = rows_with_bad(tmp_path / "rows.jsonl", BAD), tmp_path / "out.jsonl"
    predict(classify, source, out, restart=True)
    whole, log = out.read_bytes(), bad_file(out).read_bytes()
    out.write_bytes(whole[: cut % (len(whole) + 1)])
    # The log is written first: it may be ahead of the answers, or behind by what was not yet flushed.
    bad_file(out).write_bytes(log if log_first else log[: len(log) - log_cut % 40])
    found = predict(classify, source, out)
    assert found.before == whole[: cut % (len(whole) + 1)].count(b"\n")
    assert found.before + found.answered == 15
    written = lines(out)
    assert [row["row"] for row in written] == [n for n in range(1, 21) if n not in BAD]
    before = [json.loads(row)["prediction"] for row in whole.splitlines()]
    same([row["prediction"] for row in written], before)
    if log_first:
        assert bad_file(out).read_bytes() == log
        assert found.skipped == len(BAD)


@pytest.mark.parametrize("bad", [1, 9])
def test_the_first_bad_row_ends_the_run_after_the_rows_before_it(
    classify: Pipe, tmp_path: Path, bad: int
) -> None:
    source, out = rows_with_bad(tmp_path / "rows.jsonl", {bad: "nonsense"}), tmp_path / "out.jsonl"
    with pytest.raises(UserError, match=rf"rows\.jsonl:{bad}: the row is not valid JSON.*larger --max-bad"):
        predict(classify, source, out, max_bad=0)
    assert [row["row"] for row in lines(out)] == [*range(1, bad)]
    rows_with_bad(source, {})  # mended
    assert predict(classify, source, out).before == bad - 1
    assert [row["row"] for row in lines(out)] == [*range(1, 21)]


def test_a_gallery_may_hold_bad_pictures(search: Pipe, tmp_path: Path) -> None:
    """They are left out and named, the others keep their numbers."""
    names, out = photos(tmp_path / "gallery", 3), tmp_path / "out.jsonl"
    (tmp_path / "gallery" / names[0]).write_bytes(b"broken")
    source = write_lines(tmp_path / "rows.jsonl", [{"text": "a red square"}])
    found = predict(search, source, out, gallery=tmp_path / "gallery", progress=False)
    assert re.search(r"1 of 3 rows was left out: .*0\.png", found.gallery)
    hits = [(hit["index"], Path(hit["image"]).name) for hit in lines(out)[0]["prediction"]]
    assert sorted(hits) == [(1, "1.png"), (2, "2.png")]
    assert "0.png" in out.with_name(f"{out.name}.gallery.bad.jsonl").read_text()
    with expect_refusal("0.png", "--max-bad"):
        predict(search, source, out, gallery=tmp_path / "gallery", max_bad=0)


def test_a_warning_is_a_sentence(folders: Folders) -> None:
    """Not a file and a line of the source, as Python shows those of a library."""
    words = ["predict", "embed", "--model", str(folders["vqa"]), "--text", "a", "--device", "cpu"]
    (line,) = run([*XFM, *words]).err.splitlines()
    assert line.startswith("Note: ")
    assert "was fine-tuned for vqa" in line


def test_a_folder_is_answered_picture_by_picture(
    embed: Pipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = photos(tmp_path / "photos", 5) + [f"below/{n}" for n in photos(tmp_path / "photos/below", 2)]
    (tmp_path / "photos" / "readme.txt").write_text("no picture")
    (tmp_path / "photos" / ".hidden.png").write_bytes(b"")
    out = tmp_path / "out.jsonl"
    assert predict(embed, tmp_path / "photos", out).answered == 7
    written = lines(out)
    assert [row["image"] for row in written] == sorted(names)
    assert all(row.keys() == {"image", "prediction"} for row in written)
    expected = embed([tmp_path / "photos" / name for name in sorted(names)])
    np.testing.assert_allclose([row["prediction"] for row in written], expected, atol=1e-5)
    pictures(1, seed=9)[0].save(tmp_path / "photos" / "0-new.png")  # in front of the others
    (tmp_path / "photos" / "1-broken.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"1-broken\.png.*picture"):
        predict(embed, tmp_path / "photos", out, max_bad=0)
    capsys.readouterr()
    found = predict(embed, tmp_path / "photos", out)
    said = "left out 1 .txt (readme.txt), 1 hidden (.hidden.png)"
    assert said in capsys.readouterr().err
    assert said in lines(bad_file(out))[0]["says"]
    assert (found.before, found.answered, found.skipped) == (8, 0, 1)
    assert sorted(row["image"] for row in lines(out)) == sorted([*names, "0-new.png"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": TopK(1)}, r"answers with options\.top_k 5, this run has 1"),
        ({"reading": ReadOptions(TEXT_CLASSIFICATION.inputs, keep=("text",))}, "answers with keep"),
    ],
)
def test_answers_of_other_settings_are_not_mixed(
    classify: Pipe, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    source, out = rows_with_bad(tmp_path / "rows.jsonl", {}), tmp_path / "out.jsonl"
    predict(classify, source, out)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=words):
        predict(classify, source, out, **change)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert predict(classify, source, out, restart=True, **change).answered == 20


def test_another_model_or_input_is_noticed(classify: Pipe, tmp_path: Path) -> None:
    source, out = rows_with_bad(tmp_path / "rows.jsonl", {}), tmp_path / "out.jsonl"
    predict(classify, source, out)
    other = xfm.pipeline("text-classification", model=tuned("text-classification", seed=2))
    with pytest.raises(UserError, match="answers with model"):
        predict(other, source, out)
    source.write_text(source.read_text() + '{"text": "one more"}\n')
    assert predict(classify, source, out).answered == 1  # a file may grow
    write_lines(source, [{"text": "other"}] * 30)
    with pytest.raises(UserError, match=r"answers (with|of)"):
        predict(classify, source, out)


def test_a_table_that_was_cut_or_begins_otherwise_is_said(classify: Pipe, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "rows.jsonl", [{"text": one} for one in texts(6)])
    out = tmp_path / "out.jsonl"
    predict(classify, source, out)
    whole, answers = source.read_text(), out.read_bytes()
    source.write_text("".join(whole.splitlines(keepends=True)[:4]))
    with expect_refusal("rows.jsonl ends at row 4", "rows to 6", "--restart"):
        predict(classify, source, out)
    source.write_text('{"text": "another"}\n' + whole)
    with expect_refusal("answers of rows.jsonl when that began otherwise", "--restart"):
        predict(classify, source, out)
    assert out.read_bytes() == answers


def test_a_restart_empties_answers_only(classify: Pipe, tmp_path: Path) -> None:
    """A folder from the network may hold settings beside any file, and a link where bad rows are logged."""
    source = write_lines(tmp_path / "in.jsonl", [{"text": "a red circle"}, {"text": "a blue square"}])
    (tmp_path / "notes.jsonl").write_text("mine")
    for restart in (False, True):
        with expect_refusal("does not say that `predict` made it", "notes-2.jsonl"):
            predict(classify, source, tmp_path / "notes.jsonl", restart=restart)
    assert (tmp_path / "notes.jsonl").read_text() == "mine"
    out = tmp_path / "config.json"
    settings_file(out).write_text('{"task": "text-classification"}')
    for precious in ('{"kind": "xfm"}', "PK\x03\x04"):
        out.write_text(precious)
        with pytest.raises(UserError, match="does not say that `predict` made it"):
            predict(classify, source, out, restart=True)
        assert out.read_text() == precious
    out.write_text('{"row": 1, "predi')  # torn by a kill
    (tmp_path / "mine.txt").write_text("years of work")
    bad_file(out).symlink_to("mine.txt")
    with pytest.raises(UserError, match=r"config\.json\.bad\.jsonl is a link: remove it"):
        predict(classify, source, out, restart=True)
    assert (tmp_path / "mine.txt").read_text() == "years of work"
    bad_file(out).unlink()
    predict(classify, source, out, restart=True)
    assert len(lines(out)) == 2


def test_what_is_read_is_never_written(classify: Pipe, search: Pipe, tmp_path: Path) -> None:
    """A restart empties the file of answers, and the log of bad rows may be mended and read again."""
    source = rows_with_bad(tmp_path / "rows.jsonl.bad.jsonl", {})
    gallery = write_lines(tmp_path / "gallery.jsonl", [{"text": "a red square"}])
    (tmp_path / "link.jsonl").symlink_to(source)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for out in (source, tmp_path / "link.jsonl", tmp_path / "rows.jsonl"):
        with expect_refusal("is read, and", "would be written"):
            predict(classify, source, out, restart=True)
    with expect_refusal("is read, and", "would be written"):
        predict(search, source, gallery, gallery=gallery, restart=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_command_line(tmp_path: Path, command: Command) -> None:
    source, out = rows_with_bad(tmp_path / "rows.jsonl", BAD), tmp_path / "new" / "out.jsonl"
    given = ["text-classification", "--input", source, "--out", out, "--quiet"]
    refused = command(*given, "--top-k", 1, "--max-bad", 0).refusal
    assert "rows.jsonl:4: the row is not valid JSON" in refused
    shown = command(*given, "--top-k", 1).out
    assert "15 rows are answered in" in shown
    assert "(3 of them by earlier runs)" in shown
    assert re.search(r"5 of 20 rows were left out: .*rows\.jsonl:4: .*all in .*out\.jsonl\.bad\.jsonl", shown)
    assert all(len(row["prediction"]) == 1 for row in lines(out))
    assert "options.top_k 1, this run has 5" in command(*given).refusal
    assert "there is no field 'words'" in command(*given, "--restart", "--columns", "words=a").refusal
    assert len(lines(out)) == 15


def test_names_that_are_no_text_are_answered_once(embed: Pipe, tmp_path: Path) -> None:
    """Names of files are bytes; those that are not UTF-8 must be known again, too."""
    photos(tmp_path / "photos", 1)
    odd = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "photos" / "0.png").rename(tmp_path / "photos" / odd)
    out = tmp_path / "out.jsonl"
    assert predict(embed, tmp_path / "photos", out).answered == 1
    assert [row["image"] for row in lines(out)] == [odd]
    assert predict(embed, tmp_path / "photos", out).answered == 0
