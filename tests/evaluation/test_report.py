import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.conftest import HOSTILE
from tests.reports.written import Page, page_of
from xfm.config.evaluation import EvaluationConfig, Part
from xfm.core.errors import UserError
from xfm.evaluation.parts.tuned import TUNED
from xfm.evaluation.report import phase_ends, small_run, write_report
from xfm.evaluation.suite import evaluate
from xfm.reports.charts import read_curves, read_validation
from xfm.reports.labels import loss_name
from xfm.reports.lines import summary
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
    assert "4 objects in training pictures, 1 held out" in page
    assert "pictures: coloured squares, public domain" in page
    assert "near chance by construction" in page.replace("\n", " ")


def test_what_pre_training_gave_has_a_column_or_a_reason(copy: Path, page: str) -> None:
    # Each task has a table, and grounding one of further scores.
    assert page.count('<th class="num">From scratch</th>') == len(TUNED) + 1
    assert "what the score has above it, pre-training gave" in page
    with changed(copy / "evaluation.json") as details:
        details["config"]["scratch"] = False
    for path in (copy / "metrics.json", *(copy / "parts").iterdir()):
        with changed(path) as content:
            for score in content.get("scores", content).values():
                score["scratch"] = None
    page = write_report(copy).read_text()
    assert "From scratch" not in page
    assert "were not run (scratch is false)" in page


def test_the_arithmetic_is_said(copy: Path, page: str) -> None:
    with changed(copy / "evaluation.json") as details:
        assert f"{details['precision']} arithmetic" in page
        details["precision"] = "bf16"
        details["provenance"] = {"recipe": "nano", "steps": 10, "precision": "bf16"}
    page = write_report(copy).read_text()
    assert "bf16 arithmetic" in page
    assert "10 steps in bf16" in page


def test_missing_scores_are_said(copy: Path) -> None:
    with changed(copy / "metrics.json") as scores:
        del scores["vqa/seen/accuracy"]
    page = write_report(copy).read_text()
    assert "not complete" in page
    assert "<code>vqa/seen/accuracy</code>" in page


def test_text_from_data_is_escaped(copy: Path, tiny_world: Path) -> None:
    for path in (copy / "parts").iterdir():
        with changed(path) as content:
            content["examples"] = _poisoned(content["examples"])
            content["baselines"] = {key: {HOSTILE: 0.1} for key in content["baselines"]}
    with changed(copy / "evaluation.json") as details:
        details["provenance"] = {"recipe": HOSTILE, "init": {"model": HOSTILE}, "steps": HOSTILE}
    page = write_report(copy, log=copy / "log.jsonl", world=tiny_world).read_text()
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


def test_results_that_lack_files_are_named(tmp_path: Path, results: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.json does not exist"):
        write_report(tmp_path)
    shutil.copy(results / "metrics.json", tmp_path)
    with pytest.raises(UserError, match=r"evaluation\.json is missing or damaged"):
        write_report(tmp_path)


def test_log_is_read_around_events_and_torn_lines(results: Path) -> None:
    curves = read_curves(results / "log.jsonl")
    assert set(curves) == {"loss", "itc", HOSTILE}
    assert len(curves["loss"][0]) == 29
    assert curves["itc"][1][:2] == [1.0, 0.5]
    assert read_curves(results / "nothing.jsonl") == {}


def test_looks_at_validation_are_drawn_beside_the_training(copy: Path) -> None:
    lines = [
        {"step": 9, "event": "validation", "losses": {"loss": 2.5, "itc": 0.5}, "average": {"loss": 2.0}},
        {"step": 19, "event": "validation", "losses": {"loss": 1.5, HOSTILE: None}, "average": 3},
    ]
    log = copy / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + log.read_text())
    assert read_validation(log) == {
        "losses": {"loss": ([9.0, 19.0], [2.5, 1.5]), "itc": ([9.0], [0.5])},
        "average": {"loss": ([9.0], [2.0])},
    }
    assert read_validation(copy / "nothing.jsonl") == {}
    page = write_report(copy, log).read_text()
    assert page.count(">training<") == 2  # of the loss and of one of its parts
    assert page.count(">validation, average of the weights<") == 1


def test_phases_are_marked(copy: Path) -> None:
    settings = {"training": {"steps": 20}, "curriculum": [{"until": 0.5}, {"until": 1.0}]}
    assert phase_ends({"provenance": {"settings": settings}}) == [10]
    assert phase_ends({"provenance": {"recipe": "tiny"}}) == []
    with changed(copy / "evaluation.json") as details:
        details["provenance"]["settings"] = settings
    page = write_report(copy, log=copy / "log.jsonl").read_text()
    assert "a phase of the curriculum ends (step 10)" in page
    assert "pairs: image-text contrast (ITC)" not in page


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pair/itc", "pairs: image-text contrast (ITC)"),
        ("region/imlm", "regions: masked tokens given the picture (IMLM)"),
        ("text/mlm", "masked tokens of plain text (MLM)"),
        ("image/mim", "pictures: masked patches (MIM)"),
        ("new/x", "new/x"),
    ],
)
def test_losses_in_words(name: str, words: str) -> None:
    assert loss_name(name) == words


def test_a_small_run_looks_small(page: str) -> None:
    assert (
        "its scale is 0.01, where 1 is the full evaluation and some of its main scores rest on only" in page
    )
    assert "12 cases" in page  # of retrieval
    assert small_run({"vqa/seen/accuracy": Score(0.5, 0.1, None, 1000, 0)}, 1.0) == ""
    assert "only 199 cases" in small_run({"vqa/seen/accuracy": Score(0.5, 0.1, None, 199, 0)}, 1.0)


def test_names_are_words(page: str) -> None:
    visible = re.sub(r"<code>.*?</code>|<pre>.*?</pre>|<svg.*?</svg>", "", page, flags=re.DOTALL)
    for raw in (r"Grounding: seen", r"<td>vqa</td>", r"wrong image", r"masked_tokens", "fine- tuning"):
        assert not re.search(raw, visible), raw
    assert "Grounding: unseen scenes of seen objects" in visible
    assert "wrong picture" in visible


def test_a_gain_is_in_points_and_has_no_bar(page: str) -> None:
    (row,) = re.findall(r"<tr>(?:(?!</tr>).)*retrieval/seen/rerank_gain</code>.*?</tr>", page, re.DOTALL)
    assert re.search(r"<b>[+-]?\d+\.\d points</b>", row)
    assert "<svg" not in row
    assert "%" not in row


def test_a_validation_report_says_so(results: Path, tiny_world: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(scale=0.01, validation=True, parts=[Part.MASKED_TOKENS, Part.RETRIEVAL])
    scores = evaluate(results / "model", tiny_world, tmp_path, config, progress=False)
    page = page_of(tmp_path)
    assert "on validation cases that no training saw" in page
    assert "on test cases" not in page
    assert "Retrieval: validation" in page
    assert re.search("Masked words: given the right picture +[0-9]", summary(scores))
