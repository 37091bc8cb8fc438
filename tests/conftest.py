from pathlib import Path

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    default = Path(__file__).parent / "golden" / "a"
    parser.addoption("--golden", default=str(default), help="folder of recorded behaviour to check against")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
