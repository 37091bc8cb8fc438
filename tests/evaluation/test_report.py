import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.tiny import save_tiny_model
from xfm.config.evaluation import EvaluationConfig, Part
from xfm.errors import UserError
from xfm.evaluation.examples import pick_examples
from xfm.evaluation.report import phase_ends, small_run, write_report
from xfm.evaluation.run import evaluate
from xfm.metrics.numbers import percent, points, readable_seconds, rough
from xfm.reports.charts import PALETTE, read_log, running_mean, small_multiples, thin
from xfm.reports.labels import GROUPS, grouped, is_bound, loss_name, metric_name
from xfm.reports.lines import line_of
from xfm.reports.page import page_template
from xfm.reports.scores import REQUIRED_KEYS, Score
from xfm.reports.summary import summary
from xfm.reports.thumbnails import Thumbnails

HOSTILE = '<script>alert("1 & 2")</script>'
VOID = {"meta", "col", "img", "br", "link", "input", "hr"}


@pytest.fixture(scope="module")
def results(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    model = save_tiny_model(folder / "model")
    lines = [
        {"step": step, "loss": 9 / step, "losses": {"itc": 1 / step, HOSTILE: 2.0}} for step in range(1, 30)
    ]
    lines.insert(3, {"step": 4, "event": "resumed", "message": HOSTILE})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text + '{"step": 31, "lo')
    evaluate(model, tiny_world, folder, EvaluationConfig(scale=0.01), progress=False)
    return folder


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


def test_missing_scores_are_said(results: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(results, tmp_path / "run")
    scores = json.loads((folder / "metrics.json").read_text())
    del scores["vqa/seen/accuracy"]
    (folder / "metrics.json").write_text(json.dumps(scores))
    page = write_report(folder).read_text()
    assert "not complete" in page
    assert "<code>vqa/seen/accuracy</code>" in page


def test_text_from_data_is_escaped(results: Path, tiny_world: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(results, tmp_path / "run")
    for path in (folder / "parts").iterdir():
        content = json.loads(path.read_text())
        content["examples"] = _poisoned(content["examples"])
        content["baselines"] = {key: {HOSTILE: 0.1} for key in content["baselines"]}
        path.write_text(json.dumps(content))
    details = json.loads((folder / "evaluation.json").read_text())
    details["provenance"] = {"recipe": HOSTILE, "init": {"model": HOSTILE}, "steps": HOSTILE}
    (folder / "evaluation.json").write_text(json.dumps(details))
    page = write_report(folder, log=results / "log.jsonl", world=tiny_world).read_text()
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


def test_charts_are_fragments_in_the_pages_colour() -> None:
    curve = (list(range(3000)), np.linspace(5, 1, 3000).tolist())
    chart = small_multiples({"a & b": {"x": curve, "y": curve}, "c": {"c": curve}}, smooth=True)
    assert chart.startswith("<svg")
    assert "currentColor" in chart
    assert "a &amp; b" in chart
    assert not re.search(r"xmlns|<metadata|<\?xml|\sid=\"figure", chart)
    assert len(chart) < 120_000


def test_long_curves_are_thinned_to_means() -> None:
    steps, values = thin((list(range(10_000)), [1.0] * 10_000))
    assert len(steps) == len(values) == 400
    assert set(values) == {1.0}
    assert np.mean(steps) == pytest.approx(4999.5)


def test_running_mean_keeps_constants_and_length() -> None:
    assert running_mean([2.0] * 50) == pytest.approx([2.0] * 50)
    assert running_mean([1.0, 3.0]) == [1.0, 3.0]
    values = list(range(101))
    assert running_mean(values)[50] == pytest.approx(50)


def test_a_curve_of_one_point_is_visible() -> None:
    point = f"fill: {PALETTE[0]}"  # lines are stroked, points filled
    assert point in small_multiples({"a": {"a": ([7.0], [2.0])}})
    assert point not in small_multiples({"a": {"a": (list(range(50)), [1.0] * 50)}})


def test_panels_share_their_steps_and_show_whole_ones() -> None:
    curves = {"a": ([1, 2, 3], [1.0, 2.0, 3.0]), "b": ([3], [1.0])}
    chart = small_multiples({name: {name: curve} for name, curve in curves.items()}, last=3, marks=[2])
    ticks = [text for text in re.findall(r">([\d.]+)</text>", chart) if "." not in text]
    assert ticks.count("3") >= 2
    assert "0.5" not in re.findall(r">([\d.]+)</text>", small_multiples({"a": {"a": ([1, 2], [7.0, 9.0])}}))
    assert chart.count("stroke-dasharray: ") == 2  # the mark, in both panels


def test_phases_are_marked(results: Path, tmp_path: Path) -> None:
    settings = {"training": {"steps": 20}, "curriculum": [{"until": 0.5}, {"until": 1.0}]}
    assert phase_ends({"provenance": {"settings": settings}}) == [10]
    assert phase_ends({"provenance": {"recipe": "tiny"}}) == []
    folder = shutil.copytree(results, tmp_path / "run")
    details = json.loads((folder / "evaluation.json").read_text())
    details["provenance"]["settings"] = settings
    (folder / "evaluation.json").write_text(json.dumps(details))
    page = write_report(folder, log=results / "log.jsonl").read_text()
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


@pytest.mark.parametrize("floor", [-0.2, 0.0, 0.5, 1.0])
def test_baseline_and_chance_stay_on_their_bar(floor: float, tmp_path: Path) -> None:
    """Perfect ones, and a correlation below zero, would be drawn beside it."""
    line = line_of("vqa/test/accuracy", {"vqa/test/accuracy": Score(0.5, floor, floor, 9, 0)}, {})
    bar = page_template("parts.html", Thumbnails(tmp_path)).module.bar(line)  # type: ignore[attr-defined]
    left = [float(x) for x in re.findall(r'class="(?:base|chance)" x="([-.0-9]+)"', bar)]
    assert left == [min(99, max(0, 100 * floor))] * 2


def test_a_validation_report_says_so(results: Path, tiny_world: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(scale=0.01, validation=True, parts=[Part.MASKED_TOKENS, Part.RETRIEVAL])
    scores = evaluate(results / "model", tiny_world, tmp_path, config, progress=False)
    page = (tmp_path / "report.html").read_text()
    assert "on validation cases that no training saw" in page
    assert "on test cases" not in page
    assert "Retrieval: validation" in page
    assert re.search("Masked words: given the right picture +[0-9]", summary(scores))


def test_the_summary_lines_up() -> None:
    scores = {
        "vqa/seen/accuracy": Score(0.5, 0.1, 0.25, 1000, 0),
        "retrieval/seen/text_r1_rerank": Score(1.0, 0.001, None, 50, 0),
        "retrieval/seen/text_r5": Score(1.0, 0.001, None, 50, 0),
    }
    assert summary(scores).splitlines() == [
        "                                                           score  chance  baseline      n",
        "Image-text retrieval: picture → caption, R@1, re-ranked  100.0 %   0.1 %         -     50",
        "Question answering: accuracy                              50.0 %  10.0 %    25.0 %  1,000",
    ]
    assert "R@1" in summary({"retrieval/hard/text_r1": scores["vqa/seen/accuracy"]})


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


def test_every_required_key_has_a_group_and_words() -> None:
    scores = {key: Score(0.1, 0.1, None, 10, 0) for key in (*REQUIRED_KEYS, "retrieval/seen/text_r10")}
    assert {group.task for group, _ in grouped(scores)} == {group.task for group in GROUPS}
    assert metric_name("retrieval/seen/text_r10") == "picture → caption, R@10"
    assert metric_name("retrieval/hard/text_r1_rerank") == "picture → caption, R@1, re-ranked"
    assert metric_name("vqa/seen/accuracy_how_many") == "questions “how many”"
    assert metric_name("new/test/some_thing") == "some thing"
    assert grouped({"new/test/x": scores[REQUIRED_KEYS[0]]})[0][0].title == "new"


def test_an_unreadable_picture_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    thumbnails = Thumbnails(tmp_path)
    assert thumbnails.uri("a.jpg") == thumbnails.uri("missing.jpg") == ""


def test_numbers_read_well() -> None:
    assert percent(0.1234) == "12.3 %"
    assert (rough(0.2081), rough(0.0012)) == ("21 %", "0.1 %")
    assert points(0.1234) == "+12.3"
    assert points(-0.00001) == "0.0"
    assert readable_seconds(75.2) == "1 min 15 s"
    assert readable_seconds(9.6) == "10 s"
