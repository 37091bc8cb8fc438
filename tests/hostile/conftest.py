"""Which situations run, what they find ready-made, and the table of their results."""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.ready import ready

_RESULTS = pytest.StashKey["_Collector"]()


@pytest.fixture(scope="session")
def names(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, str]:
    """Paths of what is ready-made; workers of one test run share it.

    It is kept between runs in the folder that HOSTILE_READY names, if it names one.
    """
    if kept := os.environ.get("HOSTILE_READY"):
        return ready(Path(kept).absolute())
    every = bool(request.config.getoption("--hostile-all", default=None))
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    return ready(shared / "hostile-ready", every)


def pytest_configure(config: pytest.Config) -> None:
    """Collect results in the process that reports."""
    config.stash[_RESULTS] = _Collector()
    config.pluginmanager.register(config.stash[_RESULTS], "hostile-results")


class _Collector:
    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a situation recorded."""
        found = dict(report.user_properties).get("situation")
        if found and report.when == "call":
            self.results.append(json.loads(str(found)))
        elif report.skipped and "test_situation[" in report.nodeid:
            self.skipped.append(report.nodeid.split("[", 1)[1].rstrip("]"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the table and its JSON, where all situations were asked for."""
    found = config.stash.get(_RESULTS, None)
    target = config.getoption("--hostile-all", default=None)
    if os.environ.get("PYTEST_XDIST_WORKER") or not target or found is None or not found.results:
        return
    results = found.results
    results.sort(key=lambda one: one["name"])
    failed = sum(bool(one["faults"]) for one in results)
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(
        json.dumps({"failed": failed, "skipped": found.skipped, "situations": results}, indent=1) + "\n"
    )
    print(f"\n{'situation':<44} {'seconds':>7} {'MiB':>6} {'status':>6}  message")
    for one in results:
        marked = f"FAILED: {'; '.join(one['faults'])} | " if one["faults"] else ""
        figures = f"{one['seconds']:>7.1f} {one['peak_mib']:>6} {one['status']!s:>6}"
        print(f"{one['name']:<44.44} {figures}  {marked}{one['message'][:90]}")
    if found.skipped:
        print(f"not run, for want of root's rights: {', '.join(sorted(found.skipped))}")
    print(f"{len(results) - failed} passed, {failed} failed", flush=True)


@pytest.fixture
def here(tmp_path: Path) -> Generator[Path]:
    """The situation's folder, which must be removable afterwards."""
    folder = tmp_path / "here"
    folder.mkdir()
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
