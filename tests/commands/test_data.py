"""`xfm data index`: the index of a folder, from the command line."""

import numpy as np
import pytest

from tests.data.conftest import region_members, write_tar
from xfm.cli.main import main
from xfm.data.sources.shard_index import INDEX, open_index


@pytest.fixture
def folder(tmp_path):
    for shard in range(2):
        write_tar(
            tmp_path / f"a-{shard}.tar", region_members(np.random.default_rng(shard), 3, first=3 * shard)
        )
    return tmp_path


@pytest.mark.parametrize("checksums", ["true", "false"])
def test_the_index_of_a_folder(folder, checksums, capsys):
    assert main(["data", "index", str(folder), "--workers", "1", "--checksums", checksums, "--quiet"]) == 0
    table = open_index(folder / INDEX).table
    assert (
        f"{folder / INDEX} has 6 records of 2 shards with {table.sizes.sum():,} bytes"
        in capsys.readouterr().out
    )
    assert (table.checksums.tobytes() != bytes(64)) == (checksums == "true")


def test_what_cannot_be_indexed(folder, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    for words, said in (
        (["index", str(empty)], "holds no tar shards"),
        (["index", str(folder / "a-0.tar")], "is no folder"),
        (["index", str(tmp_path / "nowhere")], "is no folder"),
        (["indx", str(folder)], "did you mean index?"),
    ):
        assert main(["data", *words]) == 2
        assert said in capsys.readouterr().err
    (folder / "a-1.tar").write_bytes(b"x" * 2000)
    assert main(["data", "index", str(folder), "--workers", "1"]) == 2
    assert "a-1.tar: not a tar header" in capsys.readouterr().err
    assert not (folder / INDEX).exists()
