"""A collection that comes from elsewhere: whom it would have asked, and which model it names."""

import json
from pathlib import Path

import pytest

from tests.index.conftest import expect_unopened
from xfm.search.opening import open_index
from xfm.search.trusted_hosts import HOSTS

pytest.importorskip("lancedb")
pytest.importorskip("psycopg")


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (HOSTS, "PGHOST", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def found(model: Path, tmp_path: Path) -> Path:
    """A collection that somebody has made."""
    with open_index(tmp_path / "found", model, make=True):
        return tmp_path / "found"


def naming(folder: Path, address: str) -> Path:
    told = json.loads((folder / "index.json").read_text())
    told["store"] = {"address": address, "table": "pictures"}
    (folder / "index.json").write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("postgresql://localhost,elsewhere.example/shop", "elsewhere.example"),
        ("postgresql:///shop?host=elsewhere.example", "elsewhere.example"),
        ("postgresql:///shop?service=elsewhere", "elsewhere"),
    ],
)
def test_another_machine_is_asked_by_those_who_name_it(found: Path, address: str, host: str) -> None:
    expect_unopened(naming(found, address), str(found), f"at {host}, another machine", f"{HOSTS}={host}")


@pytest.mark.parametrize("address", ["postgresql://LOCALHOST:1/x", "postgresql://%2Fnowhere:1/x"])
def test_this_machine_is_asked_at_once(found: Path, address: str) -> None:
    expect_unopened(naming(found, address), "no connection to PostgreSQL")


def test_a_host_is_named_by_the_environment_or_the_address(
    found: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "postgresql://db.example:1/shop?hostaddr=127.0.0.1"  # no name is looked up
    naming(found, address)
    asked = "dbname=shop host=db.example hostaddr=127.0.0.1 port=1: there is no connection to PostgreSQL"
    expect_unopened(found, asked, address=address)
    monkeypatch.setenv(HOSTS, "other.example, DB.example")
    expect_unopened(found, asked)
    monkeypatch.setenv(HOSTS, "other.example")
    expect_unopened(found, f"{HOSTS}=db.example")


def test_the_model_that_a_collection_names_is_said(
    found: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    with open_index(found):
        assert f"Note: {found} names its model: {model}" in capsys.readouterr().err
    with open_index(found, model):
        assert "names its model" not in capsys.readouterr().err
    with open_index(tmp_path / "own", "small", make=True), open_index(tmp_path / "own", writing=False):
        assert "names its model" not in capsys.readouterr().err
