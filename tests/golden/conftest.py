"""Tests of recorded behaviour run once for everything that the folder records, by the recorded names."""

from pathlib import Path

import pytest

from tests.golden.recorded import Recorded


def _folder(config: pytest.Config) -> Recorded:
    return Recorded(Path(config.getoption("--golden")))


@pytest.fixture(scope="session")
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return _folder(request.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each recorded array, loss, task and group of parameters."""
    recorded = _folder(metafunc.config)
    names = {
        "array": lambda: recorded.outputs,
        "loss_case": lambda: recorded.scalars | recorded.gradients["grads"] | recorded.gradients["none"],
        "loaded_task": lambda: recorded.json("load_map.json"),
        "optimised_task": lambda: recorded.json("optimizer_groups.json"),
    }
    for fixture, read in names.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, sorted(read()))  # a file's order may change
