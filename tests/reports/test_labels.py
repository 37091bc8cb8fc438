"""Keys and numbers in words."""

from dataclasses import replace

from xfm.metrics.numbers import percent, points, readable_seconds, rough
from xfm.reports.labels import GROUPS, grouped, metric_name
from xfm.reports.lines import summary
from xfm.reports.scores import REQUIRED_KEYS, Score


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
    assert "R@1" in summary({"retrieval/hard/text_r1": scores["vqa/seen/accuracy"]})


def test_every_required_key_has_a_group_and_words() -> None:
    scores = {key: Score(0.1, 0.1, None, 10, 0) for key in (*REQUIRED_KEYS, "retrieval/seen/text_r10")}
    assert {group.task for group, _ in grouped(scores)} == {group.task for group in GROUPS}
    assert metric_name("retrieval/seen/text_r10") == "picture → caption, R@10"
    assert metric_name("retrieval/hard/text_r1_rerank") == "picture → caption, R@1, re-ranked"
    assert metric_name("vqa/seen/accuracy_how_many") == "questions “how many”"
    assert metric_name("new/test/some_thing") == "some thing"
    assert grouped({"new/test/x": scores[REQUIRED_KEYS[0]]})[0][0].title == "new"


def test_numbers_read_well() -> None:
    assert percent(0.1234) == "12.3 %"
    assert (rough(0.2081), rough(0.0012), rough(None)) == ("21 %", "0.1 %", "not defined")
    assert points(0.1234) == "+12.3"
    assert points(-0.00001) == "0.0"
    assert readable_seconds(75.2) == "1 min 15 s"
    assert readable_seconds(9.6) == "10 s"
