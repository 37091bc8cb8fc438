"""Which pictures are there twice, which look alike, and which are of an evaluation."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from tests.corpora.miniature import annotations, coco, img2dataset, jpeg, visual_genome, write
from tests.corpora.preparing import prepared
from tests.data.picture_kinds import saved
from xfm.corpora.images import near_any, near_earlier, perceptual_hash
from xfm.data.images import checked_header


def changed(seed: int, **how: float) -> bytes:
    picture = Image.open(io.BytesIO(jpeg(seed, (320, 240))))
    picture = picture.resize((int(320 * how.get("scale", 1)), int(240 * how.get("scale", 1))))
    picture = ImageEnhance.Brightness(picture).enhance(how.get("light", 1))
    return saved(picture, "JPEG", quality=int(how.get("q", 90)))


def hashed(data: bytes) -> int:
    return perceptual_hash(data, checked_header(data))


def test_a_picture_keeps_its_hash_when_it_is_saved_anew() -> None:
    distances = []
    for seed in range(30):
        own = hashed(jpeg(seed, (320, 240)))
        ways = ({"scale": 0.5}, {"q": 30.0}, {"light": 1.1}, {"scale": 0.4, "q": 60.0, "light": 0.95})
        distances += [(own ^ hashed(changed(seed, **how))).bit_count() for how in ways]
    assert np.mean(np.array(distances) <= 4) > 0.97
    others = [hashed(jpeg(seed, (320, 240))) for seed in range(40)]
    apart = [(a ^ b).bit_count() for place, a in enumerate(others) for b in others[:place]]
    assert min(apart) > 10


words = st.lists(st.integers(0, 2**64 - 1), min_size=0, max_size=30)


@given(words, words, st.integers(0, 15), st.data())
def test_near_hashes_are_those_that_comparing_all_pairs_finds(left, right, distance, data) -> None:
    """Some differ from another one in a few bits, as random ones never do."""
    for _ in range(data.draw(st.integers(0, 10)) if left else 0):
        flips = data.draw(st.lists(st.integers(0, 63), max_size=distance + 2))
        word = data.draw(st.sampled_from(left))
        for bit in flips:
            word ^= 1 << bit
        data.draw(st.sampled_from([left, right])).append(word)
    a, b = np.array(left, dtype=np.uint64), np.array(right, dtype=np.uint64)
    assert near_any(a, b, distance).tolist() == [
        any((one ^ other).bit_count() <= distance for other in right) for one in left
    ]
    assert (near_earlier(a, distance) >= 0).tolist() == [
        any((one ^ other).bit_count() <= distance for other in left[:place]) for place, one in enumerate(left)
    ]


# ---------------------------------------------------------------- duplicates
@pytest.fixture
def twice(tmp_path: Path) -> Path:
    """Six pictures: the third is the first again, the fourth the second saved anew, the fifth too small."""
    source = tmp_path / "own"
    for number, data in enumerate(
        [jpeg(1, (320, 240)), jpeg(2, (320, 240)), jpeg(1, (320, 240)), changed(2, q=40.0), jpeg(3, (20, 20))]
    ):
        write(source / f"{number}.jpg", data)
    write(source / "5.jpg", jpeg(3, (320, 240)))
    return source


def test_of_pictures_that_look_alike_too(twice: Path, tmp_path: Path) -> None:
    """What a filter leaves out takes no other one with it."""
    manifest = prepared("folder", twice, tmp_path / "to", duplicates="alike", min_side=100)
    assert [*annotations(tmp_path / "to")] == ["0.jpg", "1.jpg", "5.jpg"]
    assert manifest.left_out == {"duplicate": 1, "looks like another": 1, "picture too small": 1}
    manifest = prepared("folder", twice, tmp_path / "all", duplicates="alike", distance=6)
    assert [*annotations(tmp_path / "all")] == ["0.jpg", "1.jpg", "4.jpg"]


def test_of_texts_that_share_most_of_their_words_too(tmp_path: Path) -> None:
    pytest.importorskip("datasketch")
    words = [f"word{number}" for number in range(400)]
    texts = [words, [*words[:200], "another", *words[201:]], words[::-1], words[:300], words]
    write(tmp_path / "own" / "a.jsonl", "".join(json.dumps({"text": " ".join(one)}) + "\n" for one in texts))
    manifest = prepared("text", tmp_path / "own", tmp_path / "to", duplicates="alike")
    assert manifest.left_out == {"duplicate": 1, "looks like another": 1}
    manifest = prepared("text", tmp_path / "own", tmp_path / "less", duplicates="alike", distance=14)
    assert manifest.left_out == {"duplicate": 1, "looks like another": 2}
    # Of few words, or without spaces, nothing is alike.
    few = [" ".join(words[at : at + count]) for count in (1, 3, 4) for at in range(0, 396, count)]
    few += ["".join(chr(0x4E00 + (7 * at * step) % 9000) for at in range(1, 60)) for step in range(1, 99)]
    write(tmp_path / "few" / "a.jsonl", "".join(json.dumps({"text": one}) + "\n" for one in few))
    manifest = prepared("text", tmp_path / "few", tmp_path / "kept", duplicates="alike", shard_size=100)
    assert manifest.left_out == {}


# ---------------------------------------------------------------- evaluations
def test_pictures_of_an_evaluation_are_known_by_their_numbers(tmp_path: Path) -> None:
    karpathy = [
        {"cocoid": 501, "filename": "COCO_val2014_000000000501.jpg", "split": "test"},
        {"cocoid": 503, "filename": "COCO_val2014_000000000503.jpg", "split": "restval"},
    ]
    flickr = [{"imgid": 0, "filename": "4385058901.jpg", "split": "val", "sentids": [0]}]
    refs = [{"image_id": 2, "split": "testA"}, {"image_id": 3, "split": "train"}]
    files = [
        write(tmp_path / "dataset_coco.json", {"images": karpathy, "dataset": "coco"}),
        write(tmp_path / "dataset_flickr30k.json", {"dataset": "flickr30k", "images": flickr}),
        write(tmp_path / "refs(unc).p", pickle.dumps(refs)),
        write(
            tmp_path / "x-vlm.json", [{"image": "val2014/COCO_val2014_000000000004.jpg", "caption": ["a"]}]
        ),
        write(tmp_path / "own.txt", "vg:2\n"),
    ]
    evaluation = [str(path) for path in files]
    manifest = prepared("vg", visual_genome(tmp_path / "vg"), tmp_path / "g", evaluation=evaluation)
    assert [*annotations(tmp_path / "g")] == ["3", "4"]
    assert manifest.left_out == {"picture of an evaluation": 2}
    prepared("coco", coco(tmp_path / "coco"), tmp_path / "c", evaluation=evaluation)
    assert [one[-5] for one in annotations(tmp_path / "c")] == ["1", "3", "5"]
    prepared("sbu", img2dataset(tmp_path / "sbu"), tmp_path / "s", evaluation=evaluation)
    kept = [one["captions"][0] for one in annotations(tmp_path / "s").values()]
    assert [caption[-1] for caption in kept] == ["0", "2", "3", "4", "5"]


def test_pictures_of_an_evaluation_are_known_by_their_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        write(tmp_path / "own" / f"{number}.jpg", jpeg(number, (320, 240)))
    write(tmp_path / "test" / "a.jpg", changed(2, scale=0.5, q=70.0))
    write(tmp_path / "test" / "bad.jpg", "no picture")
    manifest = prepared("folder", tmp_path / "own", tmp_path / "to", evaluation=[str(tmp_path / "test")])
    assert [*annotations(tmp_path / "to")] == ["0.jpg", "1.jpg", "3.jpg"]
    assert manifest.left_out == {"picture of an evaluation": 1}
    said = capsys.readouterr().err
    assert "1 picture of --evaluation cannot be read" in said
    assert str(tmp_path / "test" / "bad.jpg") in said
