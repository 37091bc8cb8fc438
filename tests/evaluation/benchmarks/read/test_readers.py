"""Every corpus in miniature, in its official layout."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.official import corpora
from tests.official.corpora import CORPORA, written
from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.read.composition import SUGARCREPE
from xfm.evaluation.benchmarks.read.image_text import read_nlvr2, read_refcoco
from xfm.evaluation.benchmarks.read.imagenet import read_imagenet
from xfm.evaluation.benchmarks.read.readers import Corpus
from xfm.evaluation.benchmarks.read.vqa import VG_WEIGHT, built_answers, read_vqa
from xfm.tasks.rows import Question, Reference, images_of

ROWS = {
    "coco": {"train": 8, "val": 4, "test": 4},  # trained on restval, too
    "flickr30k": {"train": 6, "val": 3, "test": 4},
    "vqa": {"train": 8 + 5 + 4, "minival": 1, "test-dev": 3, "test-std": 3},  # both years and Genome
    "nlvr2": {"train": 8, "dev": 4, "test-P": 4},
    "refcoco": {"train": 12, "val": 6, "testA": 6, "testB": 6},  # two sentences each
    "imagenet": {"train": 12, "val": 6},
    "winoground": {"train": 0, "test": 7, "object": 3, "relation": 2, "both": 2},
    "sugarcrepe": {"train": 0, **dict.fromkeys(SUGARCREPE, 2), "test": 14},
    "aro": {"train": 0, "relation": 7, "attribution": 7},
}


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_is_read_whole(tmp_path: Path, name: str) -> None:
    corpus = written(name, tmp_path)()
    splits = {"train": corpus.train, **corpus.scored, **corpus.hidden}
    assert {split: len(rows) for split, rows in splits.items()} == ROWS[name]
    for rows in splits.values():
        assert all(image.is_file() for row in rows for image in images_of(row))
    for row in [*corpus.train, *(row for rows in corpus.scored.values() for row in rows)]:
        assert not corpus.classes or row.label in corpus.classes


def test_coco_keeps_every_caption(tmp_path: Path) -> None:
    last = written("coco", tmp_path)().scored["test"][-1]
    assert (len(last.captions), last.key, last.image.name) == (6, 16, "COCO_val2014_000000000016.jpg")
    assert {len(row.captions) for row in written("flickr30k", tmp_path / "flickr")().train} == {5}


def test_vqa_keeps_votes_kinds_and_what_is_held_out(tmp_path: Path) -> None:
    corpus = written("vqa", tmp_path)()
    assert [row.image.name for row in corpus.scored["minival"]] == ["COCO_val2014_000000000009.jpg"]
    assert not {row.image for row in corpus.train} & {row.image for row in corpus.scored["minival"]}
    assert corpus.answers == ("yes", "no", "2", "red", "blue")
    for row in corpus.train[:13]:
        assert sum(weight for _, weight in row.votes) == pytest.approx(1)
        assert max(row.votes, key=lambda vote: vote[1])[0] == row.answer
    genome_row = corpus.train[-1]
    assert (genome_row.answer, genome_row.votes) == ("the car", (("the car", VG_WEIGHT),))
    assert {row.kind for row in corpus.train[:13]} <= {"yes/no", "number", "other"}
    assert f": 4 ({tmp_path / 'vg' / 'question_answers.json'}" in corpus.notes["blank"]


def test_labels_are_those_of_the_files(tmp_path: Path) -> None:
    assert [row.label for row in written("nlvr2", tmp_path / "2")().train[:4]] == [False, True, True, False]
    imagenet = written("imagenet", tmp_path / "imagenet")()
    assert all(row.image.parent.name == row.label for row in imagenet.train)
    assert len(imagenet.classes) == 3


@pytest.mark.parametrize(
    ("split_by", "scored"), [("unc", ["val", "testA", "testB"]), ("umd", ["val", "test"])]
)
@pytest.mark.parametrize("protocol", [0, 4])
def test_refcoco(tmp_path: Path, split_by: str, scored: list[str], protocol: int) -> None:
    folder = corpora.write_refcoco(tmp_path / "refcoco", tmp_path / "coco", split_by, protocol)
    corpus = read_refcoco(folder, tmp_path / "coco" / "train2014", ("unc", "umd", "google"))
    assert list(corpus.scored) == scored
    assert len(corpus.train) == 12  # two sentences each
    width, height = corpora.SIZE
    box = corpus.train[0].boxes[0]
    assert box == pytest.approx((1.5 / width, 2.25 / height, 12 / width, 22.25 / height))
    assert corpus.scored[scored[-1]][-1].boxes[0] == pytest.approx(
        (30 / width, 9.6 / height, 1, 1)
    )  # clipped
    assert corpus.train[0].image.is_file()


def refer(folder: Path, change) -> Callable[[], Corpus[Reference]]:
    read, path = written("refcoco", folder), folder / "instances.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return read


WRONG_BOXES = [[1, 2, 0, 5], [1, 2, -1, 3], None]


@pytest.mark.parametrize("box", WRONG_BOXES, ids=str)
def test_only_annotations_that_are_needed_must_be_right(tmp_path: Path, box: list | None) -> None:
    """COCO has two boxes without area."""
    right = written("refcoco", tmp_path / "right")().train

    def add(content) -> None:
        content["annotations"] += [
            {"id": 9000, "image_id": 1, "bbox": box},
            {"id": 9001, "image_id": 4711, "bbox": [1, 1, 2, 2]},
            {"id": 9002, "image_id": 77, "bbox": [1, 1, 2, 2]},
            {"image_id": 1, "bbox": [1, 1, 2, 2]},
        ]
        content["images"].append({"id": 77, "file_name": "../x.jpg", "width": 0, "height": None})

    corpus = refer(tmp_path / "wrong", add)()
    assert [row.boxes for row in corpus.train] == [row.boxes for row in right]

    def spoil(content) -> None:
        content["annotations"][2]["bbox"] = box

    with pytest.raises(UserError, match=r'instances\.json:3: .*"bbox"'):
        refer(tmp_path / "needed", spoil)()


def test_questions_without_their_picture_are_left_out(tmp_path: Path) -> None:
    """A few of Visual Genome's are in neither folder."""
    whole = written("vqa", tmp_path)()
    assert whole.left_out == {}
    (tmp_path / "vg" / "VG_100K" / "3.jpg").unlink()
    corpus = read_vqa(tmp_path, tmp_path / "coco", tmp_path / "vg")
    assert len(corpus.train) == len(whole.train) - 1
    reason = "the picture 3 is in neither VG_100K nor VG_100K_2"
    assert corpus.left_out == {f"{tmp_path}/vg/question_answers.json:3, question 1": reason}
    shutil.rmtree(tmp_path / "vg" / "VG_100K")
    shutil.rmtree(tmp_path / "vg" / "VG_100K_2")
    with pytest.raises(UserError, match="put Visual Genome's VG_100K and VG_100K_2 there"):
        read_vqa(tmp_path, tmp_path / "coco", tmp_path / "vg")


@given(st.lists(st.sampled_from(["yes", "Yes.", "two", "2", "a dog", "dog", "the", "t-shirt"]), max_size=80))
def test_the_list_of_answers_has_what_nine_questions_have(answers: list[str]) -> None:
    built = built_answers(Question(Path("a"), "?", answer, "other") for answer in answers)
    same = {"Yes.": "yes", "two": "2", "a dog": "dog", "the": "", "t-shirt": "t shirt"}
    told = [same.get(answer, answer) for answer in answers]
    assert set(built) == {answer for answer in told if told.count(answer) >= 9 and answer}
    assert list(built) == sorted(built, key=lambda answer: (-told.count(answer), answer))


@pytest.mark.parametrize("beside", [(), ("dev", "test1")], ids=str)
def test_nlvr2_is_read_as_it_was_unpacked(tmp_path: Path, beside: tuple[str, ...]) -> None:
    corpora.write_nlvr2(tmp_path, beside)
    corpus = read_nlvr2(tmp_path)
    for rows in (corpus.train, *corpus.scored.values()):
        assert all(image.is_file() for row in rows for image in row.images)
    (tmp_path / "test1").mkdir(exist_ok=True)
    for folder in (tmp_path / "dev", tmp_path / "images" / "dev"):
        shutil.rmtree(folder, ignore_errors=True)
    with pytest.raises(UserError, match=r"dev/dev-0-0-img0\.png does not exist; put NLVR2's folder dev"):
        read_nlvr2(tmp_path)


def test_imagenet_parquet_is_unpacked_once_byte_for_byte(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    corpora.write_imagenet_parquet(tmp_path)
    corpus = read_imagenet(tmp_path)
    assert [row.label for row in corpus.train] == ["tench", "goldfish"] * 4
    assert corpus.train[5].image.read_bytes() == (tmp_path / "raw" / "train11.jpg").read_bytes()
    written = corpus.train[0].image.stat().st_mtime_ns
    assert read_imagenet(tmp_path).train[0].image.stat().st_mtime_ns == written
    (tmp_path / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match="1 of the 2 files of train"):
        read_imagenet(tmp_path)
