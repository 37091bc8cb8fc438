import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.evaluation.conftest import HOSTILE
from xfm.config.evaluation import EvaluationConfig, Part
from xfm.errors import UserError
from xfm.evaluation.examples import pick_examples
from xfm.evaluation.report import phase_ends, small_run, write_report
from xfm.evaluation.run import evaluate
from xfm.reports.charts import read_log
from xfm.reports.labels import is_bound, loss_name
from xfm.reports.scores import REQUIRED_KEYS, Score
from xfm.reports.summary import summary

VOID = {"meta", "col", "img", "br", "link", "input", "hr"}


class Balanced(HTMLParser):
    """Checks that tags close in order, and collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_and_asks_nothing_from_outside(results: Path) -> None:
    page = (results / "report.html").read_text()
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.scripts == 0
    assert all(address.startswith(("data:image/jpeg", "#")) for address in parser.addresses)
    assert len(parser.addresses) > 50
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page.replace("url(#", "")


def test_page_lists_every_key_with_its_numbers(results: Path) -> None:
    page = (results / "report.html").read_text()
    keys = set(json.loads((results / "metrics.json").read_text()))
    assert set(REQUIRED_KEYS) <= keys
    for key in keys:
        assert (f"<code>{key}</code>" in page) != is_bound(key)  # bounds stand under their score
    assert "not complete" not in page
    assert "4 objects in training pictures, 1 held out" in page
    assert "pictures: coloured squares, public domain" in page
    assert "near chance by construction" in page.replace("\n", " ")


def test_missing_scores_are_said(copy: Path) -> None:
    scores = json.loads((copy / "metrics.json").read_text())
    del scores["vqa/seen/accuracy"]
    (copy / "metrics.json").write_text(json.dumps(scores))
    page = write_report(copy).read_text()
    assert "not complete" in page
    assert "<code>vqa/seen/accuracy</code>" in page


def test_text_from_data_is_escaped(copy: Path, tiny_world: Path) -> None:
    for path in (copy / "parts").iterdir():
        content = json.loads(path.read_text())
        content["examples"] = _poisoned(content["examples"])
        content["baselines"] = {key: {HOSTILE: 0.1} for key in content["baselines"]}
        path.write_text(json.dumps(content))
    details = json.loads((copy / "evaluation.json").read_text())
    details["provenance"] = {"recipe": HOSTILE, "init": {"model": HOSTILE}, "steps": HOSTILE}
    (copy / "evaluation.json").write_text(json.dumps(details))
    page = write_report(copy, log=copy / "log.jsonl", world=tiny_world).read_text()
    assert "<script" not in page
    assert "alert(&" in page
    parser = Balanced()
    parser.feed(page)
    assert (parser.open, parser.scripts) == ([], 0)


def _poisoned(value: object) -> object:
    """Examples with every text replaced."""
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
    curves = read_log(results / "log.jsonl")
    assert set(curves) == {"loss", "itc", HOSTILE}
    assert len(curves["loss"][0]) == 29
    assert curves["itc"][1][:2] == [1.0, 0.5]
    assert read_log(results / "nothing.jsonl") == {}


def test_phases_are_marked(copy: Path) -> None:
    settings = {"training": {"steps": 20}, "curriculum": [{"until": 0.5}, {"until": 1.0}]}
    assert phase_ends({"provenance": {"settings": settings}}) == [10]
    assert phase_ends({"provenance": {"recipe": "tiny"}}) == []
    details = json.loads((copy / "evaluation.json").read_text())
    details["provenance"]["settings"] = settings
    (copy / "evaluation.json").write_text(json.dumps(details))
    page = write_report(copy, log=copy / "log.jsonl").read_text()
    assert "a phase of the curriculum ends (step 10)" in page
    assert "pairs: image-text contrast (ITC)" not in page
    assert [loss_name(name) for name in ("pair/itc", "region/imlm", "text/mlm", "image/mim", "new/x")] == [
        "pairs: image-text contrast (ITC)",
        "regions: masked tokens given the picture (IMLM)",
        "masked tokens of plain text (MLM)",
        "pictures: masked patches (MIM)",
        "new/x",
    ]


def test_a_small_run_looks_small(results: Path) -> None:
    page = (results / "report.html").read_text()
    assert (
        "its scale is 0.01, where 1 is the full evaluation and some of the scores below rest on only" in page
    )
    assert "12 cases" in page  # of retrieval
    assert small_run({"vqa/seen/accuracy": Score(0.5, 0.1, None, 1000, 0)}, 1.0) == ""
    assert "only 199 cases" in small_run({"vqa/seen/accuracy": Score(0.5, 0.1, None, 199, 0)}, 1.0)


def test_names_are_words(results: Path) -> None:
    page = (results / "report.html").read_text()
    visible = re.sub(r"<code>.*?</code>|<pre>.*?</pre>|<svg.*?</svg>", "", page, flags=re.DOTALL)
    for raw in (r"Grounding: seen", r"<td>vqa</td>", r"wrong image", r"masked_tokens", "fine- tuning"):
        assert not re.search(raw, visible), raw
    assert "Grounding: unseen scenes of seen objects" in visible
    assert "wrong picture" in visible


def test_a_gain_is_in_points_and_has_no_bar(results: Path) -> None:
    page = (results / "report.html").read_text()
    (row,) = re.findall(r"<tr>(?:(?!</tr>).)*retrieval/seen/rerank_gain</code>.*?</tr>", page, re.DOTALL)
    assert re.search(r"<b>[+-]?\d+\.\d points</b>", row)
    assert "<svg" not in row
    assert "%" not in row


def test_a_validation_report_says_so(results: Path, tiny_world: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(scale=0.01, validation=True, parts=[Part.MASKED_TOKENS, Part.RETRIEVAL])
    scores = evaluate(results / "model", tiny_world, tmp_path, config, progress=False)
    page = (tmp_path / "report.html").read_text()
    assert "on validation cases that no training saw" in page
    assert "on test cases" not in page
    assert "Retrieval: validation" in page
    assert re.search("Masked words: given the right picture +[0-9]", summary(scores))


def test_examples_show_right_and_wrong_cases() -> None:
    right = [True] * 30 + [False] * 30
    places = pick_examples(right, 10, seed=0)
    assert sum(right[place] for place in places) == 5
    assert len(set(places)) == 10
    mostly_right = [True] * 30 + [False] * 2
    places = pick_examples(mostly_right, 10, seed=0)
    assert sum(not mostly_right[place] for place in places) == 2
    assert len(places) == 10
    assert len(pick_examples([False] * 3, 10, seed=0)) == 3
