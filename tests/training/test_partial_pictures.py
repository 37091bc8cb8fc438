"""Pictures whose files end early: used, and told of in the log and at the end."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.picture_kinds import base, saved
from tests.training.corpus import tiny_recipe, write_corpus
from xfm.config.data import Augmentation, CorpusConfig, StreamConfig
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
    assert "1 pictures were used in part" in said[-1]
    assert "log.jsonl" in said[-1]
