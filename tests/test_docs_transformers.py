"""The examples of docs/transformers.md work, one after the other, where `runs/quickstart/model` is."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.evaluation.tiny import save_tiny_model

PAGE = Path(__file__).parent.parent / "docs" / "transformers.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("accelerate", "peft"):
        pytest.importorskip(library, reason=f"the page uses {library}")
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "runs" / "quickstart" / "model")
    page = ModuleType("transformers_page")
    monkeypatch.setitem(sys.modules, "transformers_page", page)
    text = PAGE.read_text()
    for found in BLOCK.finditer(text):
        line = text.count(
            "\n", 0, found.start(1)
        )  # empty lines in front keep the page's numbers in tracebacks
        exec(compile("\n" * line + found[1], str(PAGE), "exec"), page.__dict__)
    page.with_scores("runs/quickstart/model", {"R@1": 0.5})  # type: ignore[attr-defined]
    assert "| R@1 | 0.5 |" in (tmp_path / "models" / "scored" / "README.md").read_text()
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessing.json"} <= {
        path.name for path in (tmp_path / "models" / "colours").iterdir()
    }
