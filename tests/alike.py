"""Tests of which several are alike and take long: `make test` runs some, `make thorough` all.

What is left out is skipped with the reason, so that it is counted.
"""

import os
from collections.abc import Iterable
from typing import Any

import pytest

THOROUGH = bool(os.environ.get("XFM_THOROUGH"))
"""Whether every test is to run, however long that takes."""
thorough = pytest.mark.skipif(not THOROUGH, reason="others like it run: `make thorough` runs all")


def chosen(cases: Iterable[Any], every: int) -> list[Any]:
    return [case for place, case in enumerate(cases) if THOROUGH or place % every == 0]


def some(cases: Iterable[Any], every: int) -> list[Any]:
    """Cases for `pytest.mark.parametrize`, of which all but the first of each `every` are left out."""
    return [
        case
        if THOROUGH or place % every == 0
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=thorough)
        for place, case in enumerate(cases)
    ]
