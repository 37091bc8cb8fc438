"""`xfm info --checkpoints`: what a run has saved, and whether it can be read."""

import json
import shutil

import numpy as np
import pytest

from tests.data.conftest import region_members, write_tar
from tests.training.support import config, run_line
from xfm.cli.main import main
from xfm.data.sources.shard_index import INDEX, open_index
from xfm.training.checkpoint import checkpoint_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run_line(folder := tmp_path_factory.mktemp("trained") / "run", config(9, save_every=3, keep=9))
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def entries(capsys, *words: str) -> tuple[int, list[dict]]:
    status = main(["info", "--checkpoints", *words, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_whole_run(run, capsys):
    status, found = entries(capsys, str(run))
    assert status == 0
    assert [one["step"] for one in found] == [3, 6, 9]
    for one in found:
        files = list(checkpoint_path(run, one["step"]).iterdir())
        assert one["size"] == sum(path.stat().st_size for path in files)
        assert (one["processes"], one["damage"], one["changes"]) == (1, None, [])
        assert one["written"].startswith("20")
    for words in ([str(run / "checkpoints")], ["--model", str(run)]):
        assert entries(capsys, *words)[1] == found
    assert entries(capsys, str(checkpoint_path(run, 6)))[1] == found[1:2]


def test_the_table(run, capsys):
    assert main(["info", "--checkpoints", str(run)]) == 0
    shown = capsys.readouterr()
    head, *rows = shown.out.splitlines()
    assert head.split() == ["step", "written", "MB", "processes", "state"]
    assert [row.split()[0] for row in rows] == ["3", "6", "9"]
    assert all(row.endswith("  1  whole") for row in rows)
    assert "B/s" in shown.err or "100%" in shown.err
    assert main(["info", "--checkpoints", str(run), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["optimizer.safetensors", "manifest.json"])
def test_damage_is_named_and_the_status_is_1(run, capsys, name):
    file = checkpoint_path(run, 6) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    status, found = entries(capsys, str(run))
    assert status == 1
    assert [one["damage"] is None for one in found] == [True, False, True]
    assert name in found[1]["damage"]
    assert main(["info", "--checkpoints", str(run), "--quiet"]) == 1
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "damaged" in line]
    assert name in row


def test_no_run(tmp_path, run, capsys):
    for path in (tmp_path, tmp_path / "nowhere", run / "config.yaml"):
        assert main(["info", "--checkpoints", str(path)]) == 2
        assert f"{path} holds no checkpoints" in capsys.readouterr().err
    shutil.rmtree(run / "checkpoints")
    assert main(["info", "--checkpoints", str(run)]) == 2


@pytest.fixture
def folder(tmp_path):
    for shard in range(2):
        write_tar(
            tmp_path / f"a-{shard}.tar", region_members(np.random.default_rng(shard), 3, first=3 * shard)
        )
    return tmp_path


def test_the_index_of_a_folder(folder, capsys):
    assert main(["data", "index", str(folder), "--workers", "1", "--quiet"]) == 0
    size = open_index(folder / INDEX).sizes.sum()
    assert f"{folder / INDEX} has 6 records of 2 shards with {size:,} bytes" in capsys.readouterr().out
