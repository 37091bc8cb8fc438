"""Every score says how many cases stand behind it."""

import json
from dataclasses import replace
from pathlib import Path

from tests.finetuning.conftest import SHORT, on_sample
from tests.reports.written import json_lines

FEW = replace(SHORT, steps=2, baseline=False)


def test_kinds_of_questions_count_their_own(model: Path, samples: Path, tmp_path: Path) -> None:
    table = samples / "questions.jsonl"
    rows = json_lines(table)
    kinds = ["what colour" if row["q"].startswith("what") else "other" for row in rows]
    lines = [json.dumps({**row, "kind": kind}) for row, kind in zip(rows, kinds, strict=True)]
    table.write_text("\n".join(lines) + "\n")
    done = on_sample("vqa", model, tmp_path / "out", FEW, samples, test=table)
    counts = {key.rpartition("/")[2]: score.n for key, score in done.scores.items()}
    several = kinds.count("what colour")
    assert 0 < several < 10
    assert counts == {"accuracy": 10, "accuracy_what_colour": several, "accuracy_other": 10 - several}


def test_a_search_for_pictures_counts_the_captions(model: Path, samples: Path, tmp_path: Path) -> None:
    table = samples / "captions.csv"
    table.write_text(table.read_text() + "pictures/1.png,two shapes\npictures/2.png,a pair of shapes\n")
    done = on_sample("retrieval", model, tmp_path / "out", FEW, samples, test=table)
    assert done.scores["retrieval/test/text_r1_rerank"].n == 10
    assert done.scores["retrieval/test/image_r1_rerank"].n == done.scores["retrieval/test/image_r5"].n == 12
