"""Bad records are replaced, reported, counted, and stop the run when there are too many."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.data.conftest import Corpus, batches, region_members, unaugmented, write_tar
from tests.refusals import expect_refusal
from xfm.config.data import DataConfig
from xfm.core.errors import UserError
from xfm.data.loader import PretrainingData
from xfm.data.records import SampleKind
from xfm.data.sources import open_source

BAD = {
    "00003": "header is broken",
    "00004": "JSON is invalid",
    "00009": "a caption is empty",
    "00015": "outside",
}


@pytest.fixture(scope="module")
def spoilt(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    folder = tmp_path_factory.mktemp("spoilt")
    members = region_members(np.random.default_rng(7), 20)
    members["00003.jpg"] = members["00003.jpg"][:500]
    members["00004.json"] = b"{'single': quotes}"
    members["00009.json"] = json.dumps({**json.loads(members["00009.json"]), "captions": [""]}).encode()
    outside = {"regions": [{"phrase": "a", "box": [200, 0, 5, 5]}]}
    members["00015.json"] = json.dumps(outside).encode()
    return corpus.only(region=unaugmented(write_tar(folder / "spoilt-00000.tar", members), 4))


@pytest.mark.parametrize("workers", [0, 2])
def test_replaced_by_the_next_and_reported(spoilt, workers, caplog):
    data = PretrainingData(replace(spoilt, workers=workers), 96, 12, 0)
    with caplog.at_level(logging.WARNING):
        found = list(data.batches(0, 10))  # two epochs
    assert all(batch.region.pixels.shape[0] == 4 for batch in found)
    keys = [origin.key for batch in found for origin in batch.origins]
    assert not set(keys) & set(BAD)
    assert keys.count("00005") == 2 * 3  # for itself, for 00003 (whose next is bad too) and for 00004
    skipped = {bad.origin.key: bad.reason for batch in found for bad in batch.skipped}
    assert set(skipped) == set(BAD)
    assert all(BAD[key] in reason for key, reason in skipped.items())
    assert {bad.origin.key for bad in data.bad.values()} == set(BAD)
    for key in BAD:  # once, though met in both epochs
        assert sum(f"spoilt-00000.tar:{key}:" in record.getMessage() for record in caplog.records) == 1


def test_other_samples_stay_as_they_were(spoilt, corpus):
    clean = corpus.only(region=unaugmented(corpus.folder / "scenes-00000.tar", 4))
    for a, b in zip(batches(spoilt, 0, 5), batches(clean, 0, 5), strict=True):
        for i, (x, y) in enumerate(zip(a.origins, b.origins, strict=True)):
            if y.key not in BAD:
                assert x.key == y.key
                assert torch.equal(a.region.pixels[i], b.region.pixels[i])


@pytest.mark.parametrize("workers", [0, 2])
def test_more_than_allowed_stop_the_run(spoilt, workers):
    data = PretrainingData(replace(spoilt, max_bad=3, workers=workers), 96, 12, 0)
    with pytest.raises(UserError, match=r"^4 bad records, .*data.max_bad=3.*raise data.max_bad") as caught:
        list(data.batches(0, 10))
    last = list(data.bad.values())[-1]
    assert f"{last.origin} ({last.reason})" in str(caught.value)
    assert len(batches(replace(spoilt, max_bad=4, workers=workers), 0, 20)) == 20


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_without_regions_give_no_row(spoilt, tmp_path, workers):
    """With captions as rows they are good records; without, there would be nothing to learn from."""
    members = region_members(np.random.default_rng(1), 4)
    for key in ("00000", "00002"):
        members[f"{key}.json"] = b'{"captions": ["a dog"], "regions": []}'
    stream = unaugmented(write_tar(tmp_path / "a.tar", members), 4)
    config = replace(spoilt, region=stream, workers=workers)
    (whole,) = batches(config, 0, 1)
    assert not whole.skipped
    config = replace(config, caption_rows=False)
    (batch,) = batches(config, 0, 1)
    assert (batch.skipped, batch.regionless) == ((), 2)
    assert not batch.region.is_image.any()
    for key in ("00001", "00003"):
        del members[f"{key}.jpg"]
    write_tar(tmp_path / "a.tar", members)
    with expect_refusal("None of 4 records", "data.region", '"regions" of 2', "data.caption_rows"):
        batches(replace(config, max_bad=5), 0, 1)


@pytest.mark.parametrize(("max_bad", "remedy"), [(1, "raise data.max_bad"), (100, "check the field names")])
def test_a_corpus_without_a_good_record(spoilt, tmp_path, max_bad, remedy):
    path = write_tar(tmp_path / "a.tar", {f"{i}.jpg": b"nothing" for i in range(5)})
    with expect_refusal("a.tar:", "mend or remove them", remedy):
        batches(replace(spoilt, region=unaugmented(path, 2), max_bad=max_bad), 0, 1)


def test_a_file_of_holes_is_not_read_to_its_end(tmp_path):
    """A thousand million million zeros take no room on the disk."""
    with (tmp_path / "text.jsonl").open("wb") as stream:
        stream.write(b'{"text": "a"}\n')
        stream.truncate(1 << 42)
    with expect_refusal("text.jsonl: no line ends in 1073741824 bytes"):
        open_source(tmp_path / "text.jsonl", SampleKind.TEXT)
