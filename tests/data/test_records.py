"""Every way in which a record can be bad gives a reason that names what is wrong."""

import pytest

from tests.data.conftest import PICTURE
from xfm.data.records import (
    BadRecordError,
    Limits,
    Record,
    SampleKind,
    check_box,
    parse_annotation,
    to_sample,
)
from xfm.data.schema import Origin, PairSample, RegionSample

ORIGIN = Origin("shard-00003.tar", "000123")
GOOD = {"captions": ["A cat."], "regions": [{"phrase": "the cat", "box": [1, 2, 10, 20]}]}


def sample(annotation: dict, kind: SampleKind = SampleKind.REGION, picture: bytes | None = PICTURE):
    return to_sample(Record(ORIGIN, picture, annotation), kind, Limits())


def region(**changes: object) -> dict:
    return {**GOOD, "regions": [{**GOOD["regions"][0], **changes}]}


def test_good_records():
    found = sample(GOOD)
    assert isinstance(found, RegionSample)
    assert found.pixels.shape == (3, 30, 40)
    assert found.regions[0].box == (1, 2, 10, 20)
    assert sample({"captions": ["a"], "regions": []}).regions == ()
    assert sample({"regions": GOOD["regions"]}).captions == ()
    for annotation in ({"captions": ["a b", "c"]}, {"caption": "a b"}, {"caption": ["a b"]}):
        pair = sample(annotation, SampleKind.PAIR)
        assert isinstance(pair, PairSample)
        assert pair.captions[0].startswith("a")
    assert sample({}, SampleKind.IMAGE).pixels.shape == (3, 30, 40)
    assert sample({"text": "Hi."}, SampleKind.TEXT, None).text == "Hi."


BAD: list[tuple[dict, str, SampleKind, bytes | None]] = [
    *(
        (annotation, reason, SampleKind.REGION, PICTURE)
        for annotation, reason in (
            ({}, 'there is no field "captions" or "regions"; it has no fields'),
            ({"captions": []}, "there is no caption and no region"),
            ({"captions": ["a", " "]}, "a caption is empty"),
            ({"captions": ["a", "?!"]}, "a caption is empty"),
            ({"captions": {"a": 1}}, '"captions" is not a list of strings'),
            ({"captions": ["a", 3]}, '"captions" is not a list of strings'),
            ({"captions": ["half a pair: \ud83d"]}, '"captions" is not a list of strings'),
            ({"captions": ["a"], "regions": {}}, '"regions" is not a list'),
            ({"regions": ["x"]}, "region 0 is not an object"),
            (region(phrase=" .,"), "phrase of region 0 is missing or empty"),
            (region(phrase=None), "phrase of region 0 is missing or empty"),
            (region(phrase="\udc00"), "phrase of region 0 is missing or empty"),
            (region(box=None), "box of region 0 is not four numbers"),
            (region(box=[1, 2, 3]), "box of region 0 is not four numbers"),
            (region(box=[1, 2, 3, "4"]), "box of region 0 is not four numbers"),
            (region(box=[1, 2, 3, True]), "box of region 0 is not four numbers"),
            (region(box=[1, 2, float("nan"), 4]), "box of region 0 is not four finite numbers"),
            (region(box=[1, 2, float("inf"), 4]), "box of region 0 is not four finite numbers"),
            (region(box=[1, 2, 10**400, 4]), "box of region 0 is not four finite numbers"),
            (region(box=[5, 5, -3, 4]), r"box of region 0 \[5, 5, -3, 4\] has no area"),
            (region(box=[5, 5, 3, 0]), r"box of region 0 \[5, 5, 3, 0\] has no area"),
            (region(box=[50, 5, 3, 3]), "lies outside its picture of 40 x 30 pixels"),
            (region(box=[30, 5, 12, 3]), "lies outside its picture of 40 x 30 pixels"),
            (region(box=[-2, 5, 12, 3]), "lies outside its picture"),
            (region(box=[3, 28, 12, 4]), "lies outside its picture"),
        )
    ),
    ({}, 'there is no field "captions"; it has no fields', SampleKind.PAIR, PICTURE),
    ({"text": "a", "x": 1}, 'no field "captions"; it has text, x', SampleKind.PAIR, PICTURE),
    ({"captions": []}, "there is no caption", SampleKind.PAIR, PICTURE),
    ({"caption": ""}, "a caption is empty", SampleKind.PAIR, PICTURE),
    ({"caption": "a"}, "not a JPEG, PNG, WebP", SampleKind.PAIR, b"no picture"),
    ({}, "picture is missing", SampleKind.IMAGE, None),
    ({}, "header is broken", SampleKind.IMAGE, PICTURE[:300]),
    ({"caption": "a"}, 'there is no field "text"; it has caption', SampleKind.TEXT, None),
    ({"text": 3}, 'the field "text" is not a string', SampleKind.TEXT, None),
    ({"text": "\ud800"}, 'the field "text" is not a string', SampleKind.TEXT, None),
    ({"text": " \n"}, "the text is empty", SampleKind.TEXT, None),
]


@pytest.mark.parametrize(("annotation", "reason", "kind", "picture"), BAD)
def test_a_bad_record_is_named(annotation, reason, kind, picture):
    with pytest.raises(BadRecordError, match=reason) as caught:
        sample(annotation, kind, picture)
    assert caught.value.origin == ORIGIN
    assert str(caught.value).startswith("shard-00003.tar:000123: ")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "JSON is invalid"),
        (b"\xff\xfe\xfa", "JSON is invalid"),
        (b"[" * 100_000, "JSON is invalid"),
        (b"1" * 10_000, "JSON is invalid"),
        (b"[1]", "JSON is a list, not an object"),
        (b"null", "JSON is a NoneType, not an object"),
    ],
)
def test_bad_json(data, reason):
    with pytest.raises(BadRecordError, match=reason):
        parse_annotation(data, ORIGIN)


def test_small_overhang_is_clipped():
    assert check_box([-0.5, -1, 10, 10], 40, 30) == (0, 0, 9.5, 9)
    assert check_box([31, 21, 10, 10], 40, 30) == (31, 21, 9, 9)
    for left in (40, -1):  # nothing of it is left
        with pytest.raises(ValueError, match="outside"):
            check_box([left, 5, 1, 1], 40, 30)
