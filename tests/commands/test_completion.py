"""Completion as a shell does it: the printed code is loaded and asked."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.alike import thorough
from xfm.cli.completion import SHELLS
from xfm.cli.main import COMMANDS, main
from xfm.config.tasks import task_names

pytest.importorskip("argcomplete")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "xfm"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xfm "$@"\n')
    path.chmod(0o755)
    return path.parent


def complete(program: Path, line: str) -> set[str]:
    script = f"""
        PATH="{program}:$PATH"
        source <(xfm --completion bash)
        COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9; COMP_WORDS=($COMP_LINE)
        COMP_CWORD=${{#COMP_WORDS[@]}}
        $(complete -p xfm | sed 's/.*-F \\([^ ]*\\) .*/\\1/') xfm "" "" 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=120, cwd=program.parent, check=True
    )
    return {word.strip() for word in done.stdout.splitlines() if word.strip()}


@thorough
def test_bash_completes_verbs_options_values_and_paths(program: Path) -> None:
    (program.parent / "rows.csv").touch()
    (program.parent / "photos").mkdir()
    assert complete(program, "xfm ") == set(COMMANDS)
    assert complete(program, "xfm fine") == {"finetune"}
    assert complete(program, "xfm finetune ") == {*task_names(tunable=True)}
    assert complete(program, "xfm predict zero") == {"zero-shot-image-classification"}
    assert complete(program, "xfm finetune vqa --box-") == {"--box-format", "--box-unit"}
    assert {"xywh", "xyxy"} <= complete(program, "xfm finetune vqa --box-format ")
    assert "rows.csv" in complete(program, "xfm finetune vqa --model m --train r")
    assert complete(program, "xfm evaluate ph") == {"photos/"}
    assert complete(program, "xfm pretrain --recipe sm") == {"small", "small-longer", "small-twins"}


def test_options_are_those_of_the_task_and_spelled_with_dashes(program: Path) -> None:
    assert "--draw" in complete(program, "xfm predict grounding --")
    options = complete(program, "xfm predict embed --")
    assert "--draw" not in options
    assert {"--batch-size", "--model", "--workers"} <= options
    assert not [option for option in options if "_" in option]
    assert complete(program, "xfm pretrain --training.optim.muon") == {"--training.optim.muon-lr"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_code_is_the_shells(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--completion", shell])
    code = tmp_path / "code"
    code.write_text(capsys.readouterr().out)
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here to check its syntax")
    subprocess.run([shell, "-n", str(code)], check=True)
