"""What a process says of where it runs."""

import platform
from pathlib import Path

import pytest

from xfm.core import processes


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\n"
            "processor\t: 1\ncpu family\t: 27\nmodel\t\t: 3\nmodel name\t: other\n",
            "AMD EPYC (family 26, model 2)",
        ),
        ("processor\t: 0\nmodel name\t: Cortex\n", "Cortex"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", platform.processor() or platform.machine()),
        (None, platform.processor() or platform.machine()),
    ],
)
def test_the_processor_has_a_name(
    told: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first of them; machines without the file, and with another form of it, have their own."""
    file = tmp_path / "cpuinfo"
    if told is not None:
        file.write_text(told)
    monkeypatch.setattr(processes, "_CPUINFO", file)
    assert processes.processor() == said
