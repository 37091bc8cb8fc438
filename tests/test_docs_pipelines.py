"""The examples of docs/pipelines.md work, one after the other, with tiny models in the place of its own."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.inference.models import pictures, save, tuned
from tests.task_tables import fine_tuning, pipelines
from tests.test_docs import ROOT, blocks, commands
from xfm.cli import main

PAGE = ROOT / "docs" / "pipelines.md"
MODELS = {"quickstart": None, "questions": "vqa", "captions": "captioning"}


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, kind in MODELS.items():
        save(tmp_path / "runs" / name / "model", tuned(kind))
    Path("photos").mkdir()
    for number, picture in enumerate(pictures(3), start=1):
        picture.save(f"photos/{number}.png")
    rows = [{"photo": f"photos/{n}.png", "q": "where is it", "id": f"q{n}"} for n in (1, 2, 3)]
    Path("questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("queries.csv").write_text("text\na red square\nblue\n")
    Path("phrases.csv").write_text("image,text\nphotos/1.png,the left square\nphotos/2.png,the right one\n")
    page = ModuleType("pipelines_page")
    monkeypatch.setitem(sys.modules, "pipelines_page", page)
    for code in blocks(PAGE, "python"):
        exec(compile(code, str(PAGE), "exec"), page.__dict__)
    assert Path("boxes.png").stat().st_size > 1000
    assert Path("attention.png").stat().st_size > 1000
    written = [json.loads(line) for line in Path("preds.jsonl").read_text().splitlines()]
    assert [row["id"] for row in written] == ["q1", "q2", "q3"]
    Path("preds.jsonl").unlink()  # of other options than the command's
    for arguments in commands(PAGE, "xfm"):
        if "--help" not in arguments:
            assert main([*arguments, "--quiet"]) == 0
    assert len(Path("vectors.jsonl").read_text().splitlines()) == 3
    drawn = sorted(path.name for path in Path("drawn").glob("*.jpg"))
    assert drawn == ["2.jpg", "3.jpg"]  # lines of the table


@pytest.mark.parametrize(("page", "table"), [("pipelines.md", pipelines()), ("finetuning.md", fine_tuning())])
def test_the_tables_of_tasks_are_those_of_the_rows(page: str, table: str) -> None:
    assert table in (PAGE.parent / page).read_text(), f"put this into docs/{page}:\n{table}"
