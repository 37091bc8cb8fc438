"""The public names: few, documented, and free until they are used."""

import dataclasses
import inspect
import json
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

import xfm

HEAVY = {"torch", "torchvision", "numpy", "scipy", "tokenizers", "safetensors", "PIL", "yaml"}


def run(program: str) -> list:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def public(name: str) -> object:
    return getattr(import_module(xfm._HOMES[name]), name)


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = run("import json, sys, xfm; dir(xfm); print(json.dumps(sorted(sys.modules)))")
    assert {module.split(".")[0] for module in loaded} & HEAVY == set()
    assert [module for module in loaded if module.startswith("xfm")] == ["xfm"]


def test_a_model_is_used_without_what_imports_as_long_as_torch() -> None:
    use = "import json, sys, xfm; xfm.pipeline('embed', 'small')('a cat')"
    loaded = run(f"{use}; print(json.dumps(sorted(sys.modules)))")
    assert {"torchvision", "torch._dynamo", "transformers"} & {*loaded} == set()


def test_the_names_are_few_and_listed() -> None:
    assert len(xfm.__all__) <= 21
    assert sorted(xfm.__all__) == list(xfm.__all__)
    assert set(xfm.__all__) <= set(dir(xfm))


@pytest.mark.parametrize("name", xfm.__all__)
def test_every_name_resolves_and_is_documented(name: str) -> None:
    value = public(name)
    assert value.__name__ == name  # type: ignore[attr-defined]
    assert value.__module__ == xfm._HOMES[name], "the home must define it, not import it"
    assert find_spec(f"xfm.{name}") is None, "importing that module would hide the name"

    text = value.__doc__ or ""
    assert text.strip().splitlines()[0].endswith((".", ")")), "a sentence to begin with"
    if dataclasses.is_dataclass(value):
        wanted = [field.name for field in dataclasses.fields(value) if field.init]
    elif inspect.isfunction(value):
        wanted = list(inspect.signature(value).parameters)
    else:
        wanted = []
        for member in vars(value).values():
            if inspect.isfunction(member) and not member.__name__.startswith("_"):
                assert member.__doc__, f"{name}.{member.__name__}"
    missing = [word for word in wanted if word not in text]
    assert missing == []
