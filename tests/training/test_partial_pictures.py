"""Pictures whose files end early, or that have no regions: told of in the log and at the end."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.picture_kinds import base, saved
from tests.training.corpus import tiny_recipe, write_corpus
from xfm.config.data import Augmentation, CorpusConfig, StreamConfig
from xfm.training.flags import log_lines, of_log
from xfm.training.pretrain import pretrain


def test_they_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    photos = corpus / "photos"
    photos.mkdir()
    whole = saved(base(96, 120), "JPEG", quality=90)
    for name, data in (("a.jpg", whole), ("b.jpg", whole[: len(whole) * 7 // 10]), ("c.jpg", b"")):
        (photos / name).write_bytes(data)
    recipe = tiny_recipe(corpus)
    stream = StreamConfig(2, [CorpusConfig(str(photos))], Augmentation.MILD)
    recipe = replace(recipe, data=replace(recipe.data, image=stream))
    with caplog.at_level(logging.WARNING):
        pretrain(recipe, tmp_path / "run", progress=False)
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    partial = [event for event in events if event.get("event") == "partial_picture"]
    assert partial
    assert all("b.jpg" in event["key"] and "file ends early" in event["message"] for event in partial)
    said = [record.getMessage() for record in caplog.records]
    assert sum("used" in line and "b.jpg in part" in line for line in said) == 1
    assert "1 picture was used in part" in said[-1]
    assert "log.jsonl" in said[-1]


def test_pictures_without_regions_are_no_bad_records(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus, folder = write_corpus(tmp_path / "corpus", 8), tmp_path / "run"
    shard = corpus / "scenes-00000.tar"
    regions = re.compile(rb"\[\{.*?\}\]")
    shard.write_bytes(regions.sub(lambda found: b"[]".ljust(len(found[0])), shard.read_bytes(), count=1))
    recipe = tiny_recipe(corpus)
    data = replace(recipe.data, caption_rows=False, max_bad=0)
    with caplog.at_level(logging.WARNING):
        pretrain(replace(recipe, data=data), folder, progress=False)
    assert "without regions" in caplog.records[-1].getMessage()
    assert of_log(log_lines(folder / "log.jsonl")) == []
    assert not (folder / "bad.jsonl").exists()
