"""The command as a user types it; rows with a bad picture are left out of its scores, which is said there."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.alike import some, thorough
from tests.data.picture_kinds import png, size_chunk
from tests.official.corpora import write_data_folder
from xfm.cli.main import main
from xfm.core.errors import amount
from xfm.data.skipped import BAD_FILE
from xfm.evaluation.benchmarks.published import DETAILS, OFFICIAL
from xfm.evaluation.benchmarks.registry import BENCHMARKS
from xfm.reports.scores import read_scores
from xfm.tasks.rows import images_of


def test_the_list_says_what_belongs_where(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    assert main(["reproduce", "--list", "--data", str(data)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert " there " in lines["refcoco+"]
    assert "refs(unc).p and instances.json" in lines["refcoco+"]
    assert " missing " in lines["food101"]
    assert main(["reproduce", "--out", str(data / "none")]) == 0  # without a model: what was published
    assert "RoBERTa 87.6" in capsys.readouterr().out
    assert not (data / "none").exists()


def test_named_benchmarks_are_run_and_shown(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["reproduce", "rte", "coco", "--model", str(model), "--data", str(data), "--out", str(out)]
    command += ["--smoke", "--quiet", "--device", "cpu", "--protocols", "ft,zs", "--set", "settings.lr=1e-4"]
    command += ["--editions", "Recommended"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "To run: rte/FT/recommended, coco/FT/recommended" in shown
    assert [path.parts[-4] for path in sorted(out.glob("*/*/*/official.json"))] == ["coco", "rte"]
    assert "qnli" not in shown
    row = next(line for line in shown.splitlines() if line.startswith("| rte "))
    assert not row.endswith("-")
    assert main(["reproduce", "rte", "--out", str(out)]) == 0
    assert row.split() in [line.split() for line in capsys.readouterr().out.splitlines()]


# ---------------------------------------------------------------- bad pictures
BROKEN = b"\x89PNG\r\n\x1a\n broken"
LOOKS_WHOLE = png(size_chunk(40, 30), (b"IDAT", b"broken"), (b"IEND", b""))
"""Nothing but decoding shows that it is broken."""


def command(case: str, model: Path, data: Path, out: Path, limit: str = "50") -> int:
    name, protocol, edition = case.split("/")
    given = ["--model", model, "--data", data, "--out", out, "--max-bad", limit]
    given += ["--protocols", protocol, "--editions", edition]
    return main(["reproduce", name, *map(str, given), "--smoke", "--device", "cpu"])


def spoil(name: str, data: Path, broken: bytes = BROKEN) -> tuple[str, int, int]:
    """Break the last picture of the last scored split; which one, how many rows show it, how many not."""
    corpus = BENCHMARKS[name].read(data)
    split, rows = [*corpus.scored.items()][-1]
    picture = images_of(rows[-1])[-1]
    picture.write_bytes(broken)
    lost = sum(picture in images_of(row) for row in rows)
    assert 0 < lost < len(rows)
    return split, lost, len(rows) - lost


@thorough
@pytest.mark.parametrize(
    ("case", "broken"),
    some(
        [
            ("nlvr2/FT/recommended", LOOKS_WHOLE),
            *((f"{name}/FT/recommended", BROKEN) for name in ("nlvr2", "refcoco")),
            ("coco/ZS/published", BROKEN),
            ("coco/FT/recommended", BROKEN),
            *((case, LOOKS_WHOLE) for case in ("winoground/ZS/recommended", "imagenet/FT/recommended")),
        ],
        5,
    ),
    ids=lambda value: value if isinstance(value, str) else "cut" if value is BROKEN else "looks whole",
)
def test_a_test_row_with_a_bad_picture_is_left_out(
    case: str, broken: bytes, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_data_folder(tmp_path / "data"), tmp_path / "out"
    name, folder = case.split("/")[0], out / case
    split, lost, left = spoil(name, data, broken)
    assert command(case, model, data, out) == 0
    said = capsys.readouterr().out
    scores = {key: score for key, score in read_scores(folder / OFFICIAL).items() if f"/{split}/" in key}
    assert {score.n for score in scores.values()} == {min(left, 8 - lost)}
    assert re.search(rf"{case}: \d+ of \d+ rows w\w+ left out: .*{folder / BAD_FILE}", said)
    assert f"{case} is without" in said
    without = f"{amount(lost, 'row')} of {split}"
    assert without in said
    assert without in (out / "results.md").read_text()
    kept = json.loads((folder / DETAILS).read_text())["left_out"]
    assert kept["by_split"][split] == lost
    assert main(["reproduce", name, "--out", str(out)]) == 0  # the table alone says it, too
    assert without in capsys.readouterr().out
    shutil.rmtree(out)
    assert command(case, model, data, out, limit="0") == 2
    assert "--max-bad leaves out 0 at most" in capsys.readouterr().err


def test_a_submission_lacks_no_row(model: Path, tmp_path: Path) -> None:
    """A server refuses a file with a row less: hidden rows are answered without their picture, and named."""
    data, out = write_data_folder(tmp_path / "data"), tmp_path / "out"
    corpus = BENCHMARKS["vqa"].read(data)
    (split, rows), *_ = corpus.hidden.items()
    rows[-1].image.write_bytes(BROKEN)
    assert command("vqa/FT/recommended", model, data, out) == 0
    folder = out / "vqa" / "FT" / "recommended"
    answers = json.loads((folder / f"vqa_{split}.json").read_text())
    assert len(answers) == min(len(rows), 8)
    assert json.loads((folder / DETAILS).read_text())["left_out"]["by_split"][split] >= 1
