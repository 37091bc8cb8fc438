import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.conftest import HOSTILE
from tests.reports.written import Page, page_of
from xfm.config.evaluation import EvaluationConfig, Part
from xfm.evaluation.parts.tuned import TUNED
from xfm.evaluation.report import small_run, write_report
from xfm.evaluation.suite import evaluate
from xfm.reports.page import summary
from xfm.reports.scores import REQUIRED_KEYS, Score, read_scores


@pytest.fixture
def page(results: Path) -> str:
    return page_of(results)


@contextmanager
def changed(file: Path) -> Iterator[Any]:
    content = json.loads(file.read_text())
    yield content
    file.write_text(json.dumps(content))


def test_page_is_whole_and_asks_nothing_from_outside(page: str) -> None:
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert all(address.startswith(("data:image/jpeg", "#")) for address in parsed.addresses)
    assert len(parsed.addresses) > 50
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page.replace("url(#", "")


def test_page_lists_every_key_with_its_numbers(results: Path, page: str) -> None:
    keys = set(read_scores(results / "metrics.json"))
    assert set(REQUIRED_KEYS) <= keys
    for key in keys:
        assert f"<code>{key}</code>" in page
    assert "not complete" not in page
    assert "pictures: coloured squares, public domain" in page
    assert "near chance by construction" in page.replace("\n", " ")


def test_what_pre_training_gave_has_a_column_or_a_reason(copy: Path, page: str) -> None:
    # Each task has a table, and grounding one of further scores.
    assert page.count('<th class="num">From scratch</th>') == len(TUNED) + 1
    assert "what the score has above it, pre-training gave" in page
    with changed(copy / "evaluation.json") as details:
        details["config"]["baselines"] = False
    for path in (copy / "metrics.json", *(copy / "parts").iterdir()):
        with changed(path) as content:
            for score in content.get("scores", content).values():
                score["scratch"] = None
    page = write_report(copy).read_text()
    assert "From scratch" not in page
    assert "were not run (baselines is false)" in page


def test_text_from_data_is_escaped(copy: Path, tiny_world: Path) -> None:
    for path in (copy / "parts").iterdir():
        with changed(path) as content:
            content["examples"] = _poisoned(content["examples"])
            content["baselines"] = {key: {HOSTILE: 0.1} for key in content["baselines"]}
    with changed(copy / "evaluation.json") as details:
        details["provenance"] = {"recipe": HOSTILE, "init": {"model": HOSTILE}, "steps": HOSTILE}
    page = write_report(copy).read_text()
    assert "<script" not in page
    assert "alert(&" in page
    assert "script" not in Page(page).tags


def _poisoned(value: object) -> object:
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, list):
        return [_poisoned(item) for item in value]
    if isinstance(value, dict):
        return {name: _poisoned(item) for name, item in value.items()}
    return value


def test_a_small_run_looks_small(page: str) -> None:
    assert (
        "its scale is 0.01, where 1 is the full evaluation and some of its main scores rest on only" in page
    )
    assert "12 cases" in page  # of retrieval
    assert small_run({"vqa/seen/accuracy": Score(0.5, 0.1, None, 1000, 0)}, 1.0) == ""
    assert "only 199 cases" in small_run({"vqa/seen/accuracy": Score(0.5, 0.1, None, 199, 0)}, 1.0)


def test_a_validation_report_says_so(results: Path, tiny_world: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(scale=0.01, validation=True, parts=[Part.MASKED_TOKENS, Part.RETRIEVAL])
    scores = evaluate(results / "model", tiny_world, tmp_path, config, progress=False)
    assert {key.split("/")[1] for key in scores} == {"validation"}
    page = page_of(tmp_path)
    assert "on validation cases that no training saw" in page
    assert "on test cases" not in page
    assert "Retrieval: validation" in page
    assert re.search("Masked words: given the right picture +[0-9]", summary(scores))
