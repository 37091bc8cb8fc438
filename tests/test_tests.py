"""Rules of the tests themselves: modules stand alone, every test asserts, ids are names and no seeds."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.alike import THOROUGH, some

TESTS = Path(__file__).parent
ASSERTING = ("check_", "assert_", "expect")
"""How the names of helpers begin that assert wherever they are defined."""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """The modules that a file imports from, each with a name that it takes from there."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def called(node: ast.AST) -> Iterator[str]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            yield call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def asserts(node: ast.AST, helpers: set[str]) -> bool:
    known = {"raises", "warns", "approx", *helpers}
    return any(isinstance(inner, ast.Assert) for inner in ast.walk(node)) or any(
        name in known or name.startswith(ASSERTING) for name in called(node)
    )


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (
        node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@cache
def asserting(path: Path) -> frozenset[str]:
    return frozenset(found.name for found in functions(path) if asserts(found, set()))


def helpers(path: Path) -> set[str]:
    """Functions that assert and that a module defines, or imports from elsewhere in the tests."""
    own = set(asserting(path))
    for module, name in imports(path):
        origin = TESTS.parent.joinpath(*module.split(".")).with_suffix(".py")
        if module.startswith("tests.") and origin.is_file():
            own |= {name} & asserting(origin)
    return own


def imported_tests(path: Path) -> list[str]:
    found = {module if ".test_" in module else f"{module}.{name}" for module, name in imports(path)}
    return sorted(word for word in found if word.startswith("tests.") and ".test_" in word)


def unasserting_tests(path: Path) -> list[str]:
    known = helpers(path)
    tests = [found for found in functions(path) if found.name.startswith("test_")]
    return [test.name for test in tests if not asserts(test, known)]


def long_ranges(path: Path) -> list[str]:
    """Ranges of more than twenty numbers that a test is parametrised by, as they are or in each case."""
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    cases = [
        node.args[1] for node in calls if getattr(node.func, "attr", "") == "parametrize" and node.args[1:]
    ]
    texts = [ast.unparse(one.iter) for case in cases for one in getattr(case, "generators", [])]
    texts += [ast.unparse(one).lstrip("*") for case in cases for one in (case, *getattr(case, "elts", []))]
    ranges = [found[1] for text in texts if (found := re.fullmatch(r"(?:list\()?range\(([-\d, ]+)\)+", text))]
    return [numbers for numbers in ranges if len(range(*map(int, numbers.split(",")))) > 20]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(imported_tests, id="what two modules need lies in conftest.py or in a plain module"),
        pytest.param(unasserting_tests, id="every test asserts"),
        pytest.param(long_ranges, id="many random inputs are one property, not as many ids"),
    ],
)
def test_every_module_keeps_the_rule(broken: Callable[[Path], list[str]]) -> None:
    found = {str(path.relative_to(TESTS)): broken(path) for path in sorted(TESTS.rglob("test_*.py"))}
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def test_a():\n    run()", False),
        ("def test_a():\n    assert run()", True),
        ("def test_a():\n    with pytest.raises(ValueError):\n        run()", True),
        ("def test_a():\n    torch.testing.assert_close(a, b)", True),
        ("def test_a():\n    same(a, b)", True),
    ],
)
def test_what_counts_as_an_assertion(text: str, expected: bool) -> None:
    assert asserts(ast.parse(text), {"same"}) is expected


@pytest.mark.parametrize(
    "values", ["range(30)", "list(range(30))", "[*range(30)]", "[(n, 1) for n in range(30)]"]
)
def test_what_counts_as_a_long_range(values: str, tmp_path: Path) -> None:
    path = tmp_path / "test_a.py"
    path.write_text(f"@pytest.mark.parametrize('n', {values})\ndef test_a(n):\n    assert n")
    assert long_ranges(path) == ["30"]


def test_of_tests_that_are_alike_the_first_of_each_few_run() -> None:
    """The others are skipped with a reason, unless all were asked for."""
    left_out = [
        one for one in some([(1, "a"), (2, "b"), 3, 4, 5], 2) if isinstance(one, type(pytest.param()))
    ]
    assert [one.values for one in left_out] == [(2, "b"), (4,)]
    assert all(
        mark.args == (not THOROUGH,) and mark.kwargs["reason"] for one in left_out for mark in one.marks
    )
