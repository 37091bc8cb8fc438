"""Imports go one way, along the flow of the data, and the configuration imports nothing heavy."""

import ast
import sys
from collections import defaultdict
from collections.abc import Collection
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.processes import run
from tests.rooms import ORDER, SOURCE, imported, room_of

OPTIONAL = {"timm", "transformers", "peft", "pyarrow", "datasets", "jinja2", "matplotlib", "sklearn"}
OPTIONAL |= {"pycocoevalcap", "h5py", "pillow_heif", "lancedb", "psycopg", "pgvector", "fastapi", "uvicorn"}
OPTIONAL |= {"prometheus_client", "starlette", "pydantic", "sentence_transformers"}
OPTIONAL |= {"ray", "py3langid", "datasketch", "rawpy"}
OPTIONAL |= {"onnx", "onnxruntime", "onnxscript", "openvino", "pandas"}
ADAPTERS = ("xfm.models.interop.transformers", "xfm.search.lance", "xfm.search.postgres", "xfm.serving")
ADAPTERS += ("xfm.inference.sentence_transformers",)
"""Modules that are nothing without an extra; nobody else imports them at the top."""
HEAVY = {"torch", "torchvision", "numpy", "scipy", "transformers", "matplotlib", "PIL", "tokenizers"}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def test_a_room_imports_only_rooms_before_it():
    for path in FILES:
        own = room_of(path)
        assert own in ORDER, f"say in tests/rooms.py where {own} stands"
        others = {name.split(".")[1] for name in imported(path) if name.startswith("xfm.")} - {own}
        assert others <= {*ORDER[: ORDER.index(own)]}, f"{path} imports a room that stands after {own}"


def test_optional_libraries_are_imported_late():
    """What an extra brings is imported by the function that needs it, so that the core works without it.

    Adapters are written in the classes of their library, and are imported late themselves.
    """
    for path in FILES:
        if module_of(path).startswith(ADAPTERS):
            continue
        top = ast.parse(path.read_text()).body
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in names} & OPTIONAL, path
        assert not [name for name in names if name.startswith(ADAPTERS)], path


def test_configuration_is_light():
    for path in FILES:
        if room_of(path) in {"config", "errors"}:
            assert not {module.split(".")[0] for module in imported(path)} & HEAVY, path


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_no_modules_import_one_another_in_a_circle():
    """Neither at the top nor late inside functions: a late import only hides a circle.

    The package's own `__init__` is left out: it finds its public names when they are asked for.
    """
    modules = {module_of(path): path for path in FILES}
    arrows = {name: submodules_imported(path, modules.keys()) for name, path in modules.items()}
    assert {*TopologicalSorter(arrows).static_order()} == modules.keys()  # its error names the circle


def submodules_imported(path: Path, modules: Collection[str]) -> set[str]:
    """The modules of the package that a file imports; `from xfm.data import boxes` is xfm.data.boxes."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}": node.module for alias in node.names}
            found |= {name if name in modules else home for name, home in names.items()}
    return found & set(modules)


AWAY = """
import importlib, os, pkgutil, signal, sys
for name in LIBRARIES:  # know their systems themselves
    importlib.import_module(name)
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
for module, names in {
    os: "fork register_at_fork pread pwrite getuid O_NOFOLLOW O_NONBLOCK O_CLOEXEC posix_fadvise",
    signal: "SIGALRM SIGHUP SIGKILL SIGCHLD setitimer pthread_sigmask",
}.items():
    for name in names.split():
        delattr(module, name)
import xfm
for found in pkgutil.walk_packages(xfm.__path__, "xfm."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""
LIBRARIES = """
torch torch.utils.data torch.distributed torchvision concurrent.futures.process multiprocessing.forkserver
filelock huggingface_hub transformers timm datasets lancedb psycopg fastapi uvicorn.protocols.http.h11_impl
prometheus_client sentence_transformers sklearn.pipeline matplotlib.figure fsspec ray onnx onnxruntime
openvino peft
"""


@pytest.mark.slow
def test_modules_need_nothing_that_other_systems_lack() -> None:
    """Windows has no fork, no fcntl, no alarms; a library that is not installed is left out."""
    there = tuple(name for name in LIBRARIES.split() if find_spec(name.partition(".")[0]))
    ended = run([sys.executable, "-c", AWAY.replace("LIBRARIES", repr(there))], 240, fresh=True)
    assert ended.status == 0, ended.err[-2000:]


def test_a_class_name_means_one_thing():
    """Outside `world`, whose source is part of what a world is and stays as it is."""
    homes = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text()).body if room_of(path) != "world" else ():
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(SOURCE)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}
