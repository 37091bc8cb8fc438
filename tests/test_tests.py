"""Rules of the tests themselves: modules stand alone, every test asserts, ids are names and no seeds."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ASSERTING = ("check_", "assert_", "expect")
"""How the names of helpers begin that assert wherever they are defined."""

UNMENDED = {
    "data/tables/test_hostile_tables.py",
    "data/tables/test_parquet_bombs.py",
    "finetuning/test_split_file.py",
    "frozen/test_sweep.py",
    "inference/test_answers.py",
    "inference/test_given.py",
    "inference/test_inputs.py",
    "inference/test_predict.py",
    "inference/test_predict_direct.py",
    "inference/test_predict_fields.py",
    "interop/test_auto_classes.py",
    "metrics/test_captions.py",
    "metrics/test_consistency.py",
    "metrics/test_official_boxes.py",
    "metrics/test_official_classification.py",
    "reproduce/score/test_rules.py",
    "test_docs_images.py",
    "test_docs_pipelines.py",
    "test_docs_tutorials.py",
    "test_extending.py",
    "world/test_language.py",
    "world/test_render.py",
}
"""Modules that break a rule since before there were rules; 26 November 2026, to be emptied."""


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
    """Whether a function holds an assertion, or calls a helper that does."""
    known = {"raises", "warns", "approx", *helpers}
    return any(isinstance(inner, ast.Assert) for inner in ast.walk(node)) or any(
        name in known or name.startswith(ASSERTING) for name in called(node)
    )


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef))


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
    """Ranges of more than twenty numbers in what a test is parametrised by."""
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    cases = [node.args[1:2] for node in calls if getattr(node.func, "attr", "") == "parametrize"]
    texts = [ast.unparse(values) for (values,) in filter(None, cases)]
    ranges = [found for text in texts for found in re.findall(r"\brange\(([-\d, ]+)\)", text)]
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
    assert {module: names for module, names in found.items() if names and module not in UNMENDED} == {}


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
