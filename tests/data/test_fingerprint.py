"""By what a run knows its data again."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import region_members, write_tar
from xfm.config.data import CorpusConfig, DataConfig, StreamConfig
from xfm.data import fingerprint
from xfm.data.fingerprint import data_changes, data_fingerprint
from xfm.data.sources.shard_index import index_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir()
    (place / "tokenizer.json").write_text("{}")
    (place / "text.jsonl").write_text('{"text": "a"}\n')
    (place / "large.jsonl").write_bytes(np.random.default_rng(0).bytes(6 << 20))
    (place / "pictures").mkdir()
    for number in range(5):
        (place / "pictures" / f"{number}.png").write_bytes(bytes([number]) * 100)
    return place


def config(folder: Path) -> DataConfig:
    texts = [CorpusConfig(str(folder / name)) for name in ("text.jsonl", "large.jsonl")]
    pictures = StreamConfig(1, [CorpusConfig(str(folder / "pictures"))])
    return DataConfig(StreamConfig(1, texts), pictures, tokenizer=str(folder / "tokenizer.json"))


def test_a_copy_on_another_disk_is_the_same_data(folder, tmp_path):
    before = data_fingerprint([config(folder)], folder)
    assert sorted(before) == ["large.jsonl", "pictures", "text.jsonl", "tokenizer.json"]
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    assert data_fingerprint([config(copy)], copy) == before
    assert data_changes(before, before) == []


@pytest.mark.parametrize("name", ["text.jsonl", "large.jsonl", "pictures/3.png"])
@pytest.mark.parametrize("how", ["other", "begin"])
def test_a_replaced_file_is_named(folder, name, how):
    before, path = data_fingerprint([config(folder)], folder), folder / name
    data, times = path.read_bytes(), path.stat()
    other = {"other": data[::-1][1:] + b"#", "begin": b"#" + data[1:]}[how]
    path.unlink()
    path.write_bytes(other)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    (change,) = data_changes(before, data_fingerprint([config(folder)], folder))
    assert change.startswith(f"{name.split('/')[0]} was ")


def test_an_index_says_the_same_without_reading_the_shards(tmp_path, monkeypatch):
    """Shards of more files than are named one by one are one entry, indexed or not."""
    rng = np.random.default_rng(0)
    for shard in range(3):
        write_tar(tmp_path / f"a-{shard}.tar", region_members(rng, 2, first=2 * shard))
    (tmp_path / "tokenizer.json").write_text("{}")
    stream = StreamConfig(1, [CorpusConfig(str(tmp_path / "*.tar"))])
    config = DataConfig(pair=stream, tokenizer=str(tmp_path / "tokenizer.json"))
    few = data_fingerprint([config], tmp_path)
    assert sorted(few) == ["a-0.tar", "a-1.tar", "a-2.tar", "tokenizer.json"]
    monkeypatch.setattr(fingerprint, "_MANY", 2)
    many = data_fingerprint([config], tmp_path)
    assert many["*.tar"].startswith("3 files, ")
    index_folder(tmp_path, sorted(tmp_path.glob("*.tar")))
    assert data_fingerprint([config], tmp_path) == many
    monkeypatch.setattr(fingerprint, "_MANY", 1000)
    for path in tmp_path.glob("*.tar"):
        path.write_bytes(bytes(path.stat().st_size))  # nobody reads it now
    assert data_fingerprint([config], tmp_path) == few
