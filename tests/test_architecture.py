"""The map is true: its table is that of the code, and what it and the glossary name exists."""

import re
from pkgutil import resolve_name

import pytest

from tests.rooms import ORDER, ROOT, below, due, sentence

PAGE = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in ("architecture", "glossary"))
NAMES = sorted(set(re.findall(r"`(xfm(?:\.\w+)+)`", PAGE)))
PLACES = sorted(set(re.findall(r"`(src/[\w/.]+)`", PAGE)))


@pytest.mark.parametrize("path", due(), ids=lambda path: path.name)
def test_what_follows_from_the_imports_is_up_to_date(path):
    assert path.read_text() == due()[path], f"{path.name} is out of date: run `make map`"


def test_every_room_is_there_and_has_a_sentence():
    found = {path.stem for path in (ROOT / "src" / "xfm").glob("[!_]*.py")} | {"__main__"}
    found |= {path.parent.name for path in (ROOT / "src" / "xfm").glob("*/__init__.py")}
    assert set(ORDER) == found
    assert [room for room in ORDER if not sentence(room).endswith(".")] == []
    assert [room for room in ORDER if not below(room) <= set(ORDER)] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_map_exists(name):
    assert resolve_name(name) is not None


@pytest.mark.parametrize("place", PLACES)
def test_a_place_of_the_map_exists(place):
    assert (ROOT / place).exists()
