from pathlib import Path

import pytest

from tests.golden.recorded import Recorded


@pytest.fixture(scope="session")
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(Path(request.config.getoption("--golden")))
