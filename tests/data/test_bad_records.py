"""Bad records are replaced, reported, counted, and stop the run when there are too many."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import PICTURE, Corpus, batches, region_members, unaugmented, write_tar
from tests.folders import bad_rows
from tests.refusals import expect_refusal
from xfm.config.data import DataConfig
from xfm.config.tables import MAX_BAD
from xfm.core.errors import UserError
from xfm.data.loader import PretrainingData
from xfm.data.records import Record, SampleKind, check_box, is_number, to_sample
from xfm.data.schema import ImageSample, Origin
from xfm.data.skipped import BAD_FILE, SkippedRecords

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
    assert not batch.skipped
    assert [reads.passed_over for reads in batch.reads if reads.kind == "region"] == [2]
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


# ------------------------------------------------------------------ reasons
ORIGIN = Origin("shard-00003.tar", "000123")
GOOD = {"captions": ["A cat."], "regions": [{"phrase": "the cat", "box": [1, 2, 10, 20]}]}


def sample(annotation: dict, kind: SampleKind = SampleKind.REGION, picture: bytes | None = PICTURE):
    return to_sample(Record(ORIGIN, picture, annotation), kind)


def region(**changes: object) -> dict:
    return {**GOOD, "regions": [{**GOOD["regions"][0], **changes}]}


def test_good_records():
    found = sample(GOOD)
    assert isinstance(found, ImageSample)
    assert found.pixels.shape == (3, 30, 40)
    assert found.regions[0][1] == (1, 2, 10, 20)
    assert sample({"captions": ["a"], "regions": []}).regions == ()
    assert sample({"regions": GOOD["regions"]}).captions == ()
    for annotation in ({"captions": ["a b", "c"]}, {"caption": "a b"}, {"caption": ["a b"]}):
        pair = sample(annotation, SampleKind.PAIR)
        assert isinstance(pair, ImageSample)
        assert pair.captions[0].startswith("a")
    assert sample({}, SampleKind.IMAGE).pixels.shape == (3, 30, 40)
    assert sample({"text": "Hi."}, SampleKind.TEXT, None).text == "Hi."


def test_small_overhang_is_clipped():
    assert check_box([-0.5, -1, 10, 10], 40, 30) == (0, 0, 9.5, 9)
    assert check_box([31, 21, 10, 10], 40, 30) == (31, 21, 9, 9)
    for left in (40, -1):  # nothing of it is left
        with pytest.raises(ValueError, match="outside"):
            check_box([left, 5, 1, 1], 40, 30)


# ------------------------------------------------------------------ what may be left out
def leave_out(max_bad: int | None, bad: int, total: int) -> SkippedRecords:
    found = SkippedRecords(max_bad)
    for number in range(bad):
        found.add(f"a.csv:{number + 2}", "no picture")
    found.count("a.csv", "train", total, bad)
    return found


@given(st.none() | st.integers(0, 300), st.integers(1, 400), st.data())
def test_the_rule(max_bad: int | None, total: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, total))
    most = min(MAX_BAD, total // 2) if max_bad is None else min(max_bad, total - 1)
    if bad > most:
        with pytest.raises(UserError, match=r"a\.csv:2: no picture"):
            leave_out(max_bad, bad, total)
    else:
        assert leave_out(max_bad, bad, total).by_split == ({"train": bad} if bad else {})


@settings(max_examples=15)  # it waits for the disk
@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, str]) -> None:
    folder, found = tmp_path_factory.mktemp("run"), SkippedRecords(10)
    for place, reason in rows.items():
        found.note(place, reason)
    found.write(folder)
    expected = {place: reason.removeprefix(f"{place}: ") for place, reason in rows.items()}
    assert bad_rows(folder) == expected
    assert (folder / BAD_FILE).exists() == bool(rows)
    again = SkippedRecords(10)
    again.merge(json.loads(json.dumps(found.plain())))
    assert again.plain() == found.plain()


@given(
    st.from_regex(r" ?[-+.0-9e]{0,12} ?", fullmatch=True), st.floats(allow_nan=False, allow_infinity=False)
)
def test_numbers_are_what_float_reads(text: str, value: float) -> None:
    try:
        float(text)
    except ValueError:
        assert not is_number(text)
    else:
        assert is_number(text)
    assert is_number(str(value))


def test_a_long_text_is_no_number_at_once() -> None:
    assert not is_number("1" * 1_000_000 + "x")  # quadratic, it would be hours
