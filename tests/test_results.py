"""Kept results, and the tables of the documentation that are made from them."""

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.crossed import crossed
from benchmarks.results import MARKS, ROOT, TABLES, due, row_of
from scipy import stats

from tests.refusals import expect_refusal


@pytest.mark.parametrize("page", TABLES)
def test_a_page_has_the_numbers_of_its_file(page: str) -> None:
    """`make tables` writes them."""
    assert (ROOT / page).read_text() == due()[ROOT / page]
    assert MARKS.search((ROOT / page).read_text())


def test_intervals_of_seeds_and_cases_hold_the_true_difference() -> None:
    """In 95 of 100 tables whose seeds, cases and cells are all drawn; of seeds alone it is Student's t."""
    rng = np.random.default_rng(0)
    seeds, cases, cells = (
        rng.normal(size=(400, 5, 1)),
        rng.normal(size=(400, 1, 60)),
        rng.normal(size=(400, 5, 60)),
    )
    for of_seeds, of_cases in ((1, 1), (0.2, 2), (1, 0), (0, 2)):
        found = [crossed(table) for table in of_seeds * seeds + of_cases * cases + cells]
        assert 0.92 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.995
    alike = crossed(np.broadcast_to(np.arange(5.0)[:, None], (5, 60)))
    half = stats.t.ppf(0.975, 4) * np.arange(5.0).std(ddof=1) / 5**0.5
    assert (alike.low, alike.high) == pytest.approx((2 - half, 2 + half))


def evaluated(folder: Path, weights: str, **scratch: float | None) -> Path:
    """An evaluated run; its only scores are by name, of 0.5 each."""
    folder.mkdir()
    origin = {"recipe": "nano", "seed": 0, "steps": 9, "position": {}, "versions": {"xfm": "0"}}
    details = {"provenance": origin, "config": {"processes": 2}, "seconds": {"vqa": 60}}
    details |= {"threads": 2, "torch": "2", "weights_sha256": weights}
    scores = {name: {"value": 0.5, "scratch": value} for name, value in scratch.items()}
    (folder / "evaluation.json").write_text(json.dumps(details))
    (folder / "metrics.json").write_text(json.dumps(scores))
    return folder


def test_a_row_takes_scores_from_random_weights_of_the_same_model_alone(tmp_path: Path) -> None:
    run = evaluated(tmp_path / "run", "a", vqa=None, reasoning=0.2)
    row = row_of(run, evaluated(tmp_path / "longer", "a", vqa=0.1, reasoning=None, paraphrase=0.3))
    assert (row["vqa:scratch"], row["reasoning:scratch"], row["vqa:value"]) == (0.1, 0.2, 0.5)
    assert not any(key.startswith("paraphrase") for key in row)
    for name, weights, scratch in (("other", "b", 0.1), ("without", "a", None)):
        with expect_refusal(name, "baselines"):
            row_of(run, evaluated(tmp_path / name, weights, vqa=scratch))
