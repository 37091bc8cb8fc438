"""Every situation, by the same rules; `pytest tests/hostile -k NAME` runs some."""

import json
import sys
from pathlib import Path

import pytest

from tests.hostile import (
    areas_corpora,
    areas_models,
    areas_options,
    areas_places,
    areas_signals,
    areas_tables,
    areas_worlds,
)
from tests.hostile.checks import faults, snapshot
from tests.hostile.running import run
from tests.processes import can_unshare

AREAS = (
    *(areas_tables, areas_models, areas_options, areas_worlds, areas_places, areas_signals, areas_corpora),
)
SITUATIONS = [situation for area in AREAS for situation in area.SITUATIONS]


QUICK = {
    *("info-head", "info-ascii", "info-model.safetensors-fifo", "convert-published-evil"),
    *("predict-tokenizer-doubling", "tune-config-laughs", "prepare-sbu-climbs-out"),
}
"""What `make test` runs, too; none of them needs what `ready.py` makes for the others alone."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "situation" in metafunc.fixturenames:
        every = metafunc.config.getoption("--hostile-all", default=None)
        chosen = [one for one in SITUATIONS if every or one.name in QUICK]
        metafunc.parametrize("situation", chosen, ids=lambda one: one.name)


@pytest.mark.slow
def test_situation(situation, names, here, tmp_path, record_property):
    if situation.unshare and not can_unshare():
        pytest.skip("needs root, for name spaces of its own")
    names = {**names, "here": str(here), "space": " ", "python": sys.executable}
    situation.place(here, names)
    before, kept = snapshot(here), snapshot(Path(names["ready"]))
    ending = run(situation, names, here, tmp_path / "output.txt")
    found = faults(situation, ending, before, snapshot(here))
    if snapshot(Path(names["ready"])) != kept:
        found.append("the ready-made files changed")
    lines = ending.output.split("\n")
    result = {
        "name": situation.name,
        "seconds": round(ending.seconds, 2),
        "peak_mib": ending.peak >> 20,
        "status": ending.status,
        "faults": found,
        "message": ([line for line in lines if line.startswith("xfm:")] or lines)[-1],
    }
    record_property("situation", json.dumps(result))
    assert not found, f"{'; '.join(found)}\n{ending.output[-3000:]}"


def test_names_are_distinct() -> None:
    names = [situation.name for situation in SITUATIONS]
    assert len(names) == len({*names})
    assert {*names} >= QUICK
