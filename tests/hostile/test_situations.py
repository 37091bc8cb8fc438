"""Every situation, by the same rules; `pytest tests/hostile -k NAME` runs some."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.checks import faults, snapshot
from tests.hostile.registry import SITUATIONS
from tests.hostile.running import run
from tests.hostile.situation import Situation


def can_unshare() -> bool:
    """Whether name spaces of one's own can be had: as root, in containers not always."""
    return not subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_situation(
    situation: Situation,
    names: dict[str, str],
    here: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    if not (situation.quick or request.config.getoption("--hostile-all", default=None)):
        pytest.skip("make hostile runs it")
    if situation.unshare and not can_unshare():
        pytest.skip("needs root, for name spaces of its own")
    names = {**names, "here": str(here), "space": " ", "python": sys.executable}
    situation.place(here, names)
    before, kept = snapshot(here), snapshot(Path(names["ready"]))
    ending = run(
        situation.arguments(names),
        here,
        tmp_path / "output.txt",
        situation.env,
        situation.shell,
        situation.during,
        situation.seconds,
    )
    found = faults(situation, ending, before, snapshot(here))
    if snapshot(Path(names["ready"])) != kept:
        found.append("the ready-made files changed")
    words = [line for line in ending.output.splitlines() if line.startswith("xfm:")] or ending.output.split(
        "\n"
    )
    record_property(
        "situation",
        json.dumps(
            {
                "name": situation.name,
                "seconds": round(ending.seconds, 2),
                "peak_mib": ending.peak >> 20,
                "status": ending.status,
                "faults": found,
                "message": words[-1] if words else "",
            }
        ),
    )
    assert not found, f"{'; '.join(found)}\n{ending.output[-3000:]}"


def test_names_are_distinct() -> None:
    names = [situation.name for situation in SITUATIONS]
    assert len(names) == len({*names})
