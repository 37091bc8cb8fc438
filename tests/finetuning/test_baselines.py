"""Strong simple baselines: what they are, what they are given, and that they never end a run."""

import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from tests.alike import thorough
from tests.evaluation.tiny import draw, tiny_pretrained, tiny_task
from tests.finetuning.conftest import SAMPLES, SHORT, on_sample, on_table, text_table
from tests.processes import run
from tests.reports.written import page_of
from xfm.finetuning.baselines import features
from xfm.finetuning.baselines.features import Material, TextFeatures, TooSlow
from xfm.finetuning.baselines.linear import PENALTIES, LabelledRows, logistic, ridge
from xfm.finetuning.baselines.strong import PROBE, strong_baselines
from xfm.finetuning.leaderboard import Advice, SystemKind
from xfm.tasks.image_classification import ImageClassificationTask
from xfm.tasks.rows import Labelled, LabelledText
from xfm.tasks.text_classification import TextClassificationTask

KINDS = {
    "games": "play levels enemies arcade puzzle board",
    "sound": "audio mixer synthesizer midi track plugin",
    "web": "http server browser page proxy session",
}


def packages(rows: int = 240) -> Iterator[str]:
    """Short descriptions of three kinds of packages; every word is of one kind, between others of none."""
    rng = random.Random(0)
    for place in range(rows):
        kind = [*KINDS][place % 3]
        words = rng.sample(KINDS[kind].split(), 2) + rng.sample(["tool", "for", "the", "small", "new"], 3)
        rng.shuffle(words)
        yield f"{' '.join(words)} {place},{kind}"


def test_an_untrained_model_loses_to_tf_idf_and_everything_says_so(model: Path, tmp_path: Path) -> None:
    done = on_table(model, text_table(tmp_path, packages()), tmp_path / "out")
    board = done.leaderboards["test"]
    assert (board.use, board.places[0].name) == (Advice.BASELINE, "TF-IDF + logistic regression")
    assert done.verdict.startswith("Use TF-IDF + logistic regression: ")
    assert "chosen on the validation rows" in board.places[0].note
    score = done.scores["text-classification/test/accuracy"]
    assert score.baseline == board.places[0].value > 0.9
    page = page_of(tmp_path / "out")
    assert done.verdict in page
    assert "C = " in page


def test_the_penalty_is_the_best_of_the_validation_rows() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 20))
    labels = np.where(features[:, 0] + 2 * rng.normal(size=120) > 0, "a", "b").astype(object)
    train, valid = LabelledRows(features[:80], labels[:80]), LabelledRows(features[80:], labels[80:])
    fitted = logistic(train, valid, 0, 60)
    models = [LogisticRegression(C=c, max_iter=300).fit(features[:80], labels[:80]) for c in PENALTIES]
    right = [accuracy_score(labels[80:], one.predict(features[80:])) for one in models]
    assert accuracy_score(labels[80:], fitted.model.predict(features[80:])) == max(right)
    assert PENALTIES.index(fitted.model.C) in np.flatnonzero(np.array(right) == max(right))
    alone = logistic(train, LabelledRows(None, labels[:0]), 0, 60)
    assert "no validation rows" in alone.note
    hurried = logistic(train, valid, 0, -1)
    assert f"{len(PENALTIES) - 1} of {len(PENALTIES)} not tried" in hurried.note


def test_values_have_a_ridge() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 5))
    values = features @ np.arange(5.0) + 0.1 * rng.normal(size=100)
    fitted = ridge(LabelledRows(features[:70], values[:70]), LabelledRows(features[70:], values[70:]), 60)
    assert np.corrcoef(fitted.model.predict(features[70:]), values[70:])[0, 1] > 0.99


def text_material(rows: list[LabelledText]) -> Material:
    task = tiny_task(TextClassificationTask, rows, ("a", "b"))
    return Material(task, tiny_pretrained(), task.pictures, rows, rows[:8], {"test": rows[:10]})


def test_a_baseline_that_fails_is_named_with_the_reason() -> None:
    made, missing = strong_baselines(text_material([LabelledText("", "ab"[n % 2]) for n in range(40)]), False)
    assert set(made) == {PROBE}
    assert "empty vocabulary" in missing["TF-IDF + logistic regression"]


def test_many_rows_are_drawn_from_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "LIMIT", 30)
    rows = [LabelledText(f"{'fine' if n % 2 else 'poor'} {n}", "ab"[n % 2]) for n in range(40)]
    first, second = text_material(rows), text_material(rows)
    assert len(first.train) == 30
    assert first.train == second.train
    made, missing = strong_baselines(first, False)
    assert missing == {}
    assert "30 of 40 training rows" in made["TF-IDF + logistic regression"].note


def test_many_classes_leave_room_for_fewer_ngrams() -> None:
    """The solver of 100,000 n-grams and 500 classes would hold gigabytes."""
    rows = [[f"word{place} other{place * 7} third{place * 13}"] for place in range(3000)]
    assert TextFeatures(rows, 2).cut == ""
    many = TextFeatures(rows, 500)
    assert "most frequent n-grams" in many.cut
    assert many(rows[:1]).shape[1] * 500 <= features.NUMBERS


def picture_material(tmp_path: Path, budget: float) -> Material:
    rows = []
    for place in range(150):
        path = tmp_path / f"{place}.png"
        draw("red" if place % 2 else "blue", "green", jitter=place).save(path)
        rows.append(Labelled(path, "red" if place % 2 else "blue"))
    task, tests = tiny_task(ImageClassificationTask, rows, ("blue", "red")), {"test": rows[:20]}
    return Material(task, tiny_pretrained(), task.pictures, rows[40:], rows[20:40], tests, budget=budget)


def test_pictures_are_encoded_once_and_told_apart(tmp_path: Path) -> None:
    own = picture_material(tmp_path, 60)
    made, missing = strong_baselines(own, False)
    assert missing == {}
    assert set(made) == {
        "linear probe of the frozen features",
        "k-NN of the frozen features",
        "pixels + logistic regression",
    }
    assert len(own.seen.places) == 150
    assert made["pixels + logistic regression"].metrics["test"]["accuracy"] == 1.0
    assert not own.pretrained.model.training


def test_pictures_that_take_too_long_are_left_out_or_refused(tmp_path: Path) -> None:
    """Without any time the pictures to predict are not encoded, with little of it only some of the others."""
    with pytest.raises(TooSlow, match="stopped"):
        _ = picture_material(tmp_path, -1).seen
    _, missing = strong_baselines(picture_material(tmp_path, -1), False)
    assert all("stopped" in why for why in missing.values())
    short = picture_material(tmp_path, 1e-4)
    try:
        seen = short.seen
    except TooSlow:
        return  # this machine was too slow even for those to predict
    assert len(seen.train) < 110
    assert f"{len(seen.train)} of 110 training rows" in seen.note


def test_they_can_be_switched_off(model: Path, tmp_path: Path) -> None:
    done = on_sample("text-classification", model, tmp_path / "out", replace(SHORT, baseline=False))
    board = done.leaderboards["test"]
    assert not [place for place in board.places if place.sort in (SystemKind.STRONG, SystemKind.ABLATION)]
    assert board.use is Advice.OPEN
    assert "--baseline false" in board.verdict
    assert "--baseline false" in page_of(tmp_path / "out")


@thorough
def test_without_scikit_learn_the_run_is_saved_and_says_what_to_install(model: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from xfm.cli.main import main\n"
        f"sys.exit(main(['finetune', 'text-classification', '--model', {str(model)!r}, '--train',"
        f" {str(SAMPLES / 'reviews.csv')!r}, '--out', {str(tmp_path / 'out')!r}, '--steps', '2', '--quiet']))"
    )
    done = run([sys.executable, "-c", program])
    assert done.status == 0, done.err
    last = done.out.splitlines()[-1]
    assert "TF-IDF + logistic regression: scikit-learn is not installed: pip install 'xfm[report]'" in last
    assert (tmp_path / "out" / "metrics.json").is_file()
