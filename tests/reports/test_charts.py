"""Curves, bars and pictures of a page."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.tiny import write_world
from xfm.reports.charts import PALETTE, histograms, small_multiples
from xfm.reports.labels import GROUPS, grouped, headlines, metric_name, title_of
from xfm.reports.page import line_of, page_template, summary, thumbnail_of
from xfm.reports.scores import REQUIRED_KEYS, Score


def test_charts_are_fragments_in_the_pages_colour() -> None:
    curve = (list(range(3000)), np.linspace(5, 1, 3000).tolist())
    chart = small_multiples({"a & b": {"x": curve, "y": curve}, "c": {"c": curve}}, smooth=True)
    assert chart.startswith("<svg")
    assert "currentColor" in chart
    assert "a &amp; b" in chart
    assert not re.search(r"xmlns|<metadata|<\?xml|\sid=\"figure", chart)
    assert len(chart) < 120_000


def test_bars_are_as_high_as_their_counts() -> None:
    chart = histograms({"words & more": {"0": 1, "1": 4, "2": 2}, "sides": {"64": 3}})
    assert chart.startswith("<svg")
    assert "words &amp; more" in chart
    path = re.compile(rf'<path d="([^"]*)"[^>]*style="fill: {PALETTE[0]}"')
    tops = []
    for outline in path.findall(chart):
        heights = [float(one) for one in re.findall(r"[ML] [\d.]+ ([\d.]+)", outline)]
        tops.append(max(heights) - min(heights))
    assert len(tops) == 4
    assert tops[1] == pytest.approx(4 * tops[0], rel=1e-3)
    assert tops[2] == pytest.approx(2 * tops[0], rel=1e-3)


@pytest.mark.parametrize("floor", [-0.2, 0.5])
def test_baseline_and_chance_stay_on_their_bar(floor: float, tmp_path: Path) -> None:
    """Perfect ones, and a correlation below zero, would be drawn beside it."""
    line = line_of("vqa/test/accuracy", {"vqa/test/accuracy": Score(0.5, floor, floor, 9, 0)}, {})
    bar = page_template("parts.html", tmp_path).module.bar(line)  # type: ignore[attr-defined]
    left = [float(x) for x in re.findall(r'class="(?:base|chance)" x="([-.0-9]+)"', bar)]
    assert left == [min(99, max(0, 100 * floor))] * 2


@pytest.mark.parametrize(("baseline", "gain"), [(None, None), (0.2, 0.3)])
def test_a_chance_that_is_not_defined_is_no_floor(
    baseline: float | None, gain: float | None, tmp_path: Path
) -> None:
    line = line_of("x/test/accuracy", {"x/test/accuracy": Score(0.5, None, baseline, 99, 0, 0.4, 0.6)}, {})
    assert line["gain"] == (None if gain is None else pytest.approx(gain))
    assert line["verdict"] == ("level" if gain is None else "up")
    parts = page_template("parts.html", tmp_path).module
    row = parts.score_row(line, [])  # type: ignore[attr-defined]
    assert 'class="chance"' not in row
    assert row.count('class="none"') == (3 if baseline is None else 1)  # baseline, chance, gain


def test_thumbnails_show_the_world_alone(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world")
    images = world / "tasks" / "images"
    shutil.copy(images / "0.png", tmp_path / "outside.png")
    (images / "a.bmp").write_bytes(b"BM no picture")
    os.mkfifo(images / "pipe.png")
    assert thumbnail_of(world, "tasks/images/0.png").startswith("data:image/jpeg;base64,")
    (images / "a.jpg").write_bytes(b"no picture")
    outside = ("../outside.png", str(tmp_path / "outside.png"), "a\0", "\ud800.png")
    damaged = (f"tasks/images/{name}" for name in ("a.bmp", "a.jpg", "pipe.png", "absent.png"))
    for path in (*outside, *damaged):
        assert thumbnail_of(world, path) == ""


def test_the_summary_lines_up() -> None:
    scores = {
        "vqa/seen/accuracy": Score(0.5, 0.1, 0.25, 1000, 0),
        "retrieval/seen/text_r1_rerank": Score(1.0, 0.001, None, 50, 0),
        "retrieval/seen/text_r5": Score(1.0, 0.001, None, 50, 0),
        "reasoning/seen/accuracy": Score(0.5, None, None, 7, 0),
    }
    assert summary(scores).splitlines() == [
        "                                                           score  chance  baseline      n",
        "Image-text retrieval: picture → caption, R@1, re-ranked  100.0 %   0.1 %         -     50",
        "Question answering: accuracy                              50.0 %  10.0 %    25.0 %  1,000",
        "Two-picture reasoning: accuracy                           50.0 %       -         -      7",
    ]
    known = replace(scores["vqa/seen/accuracy"], low=0.47, high=0.531, scratch=0.301)
    assert summary({"vqa/seen/accuracy": known}).splitlines() == [
        "                               score            95 %  scratch  chance  baseline      n",
        "Question answering: accuracy  50.0 %  47.0 to 53.1 %   30.1 %  10.0 %    25.0 %  1,000",
    ]
    assert "R@1 (baseline: nouns alone)" in summary({"retrieval/seen/text_r1": scores["vqa/seen/accuracy"]})
    keys = ["retrieval/hard_validation/text_r1_matching", "vqa/validation/accuracy"]
    assert [*headlines(dict.fromkeys(keys[::-1], known))] == keys


def test_every_required_key_has_a_group_and_words() -> None:
    scores = {key: Score(0.1, 0.1, None, 10, 0) for key in (*REQUIRED_KEYS, "retrieval/seen/text_r10")}
    assert [*grouped(scores)] == [*GROUPS]
    assert metric_name("retrieval/seen/text_r10") == "picture → caption, R@10"
    assert metric_name("retrieval/hard/text_r1_rerank") == "picture → caption, R@1, re-ranked"
    assert metric_name("vqa/seen/accuracy_how_many") == "questions “how many”"
    assert metric_name("new/test/some_thing") == "some thing"
    assert title_of("new/test/x") == "new"
