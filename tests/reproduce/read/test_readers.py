"""Every corpus in miniature, in its official layout."""

import json
import shutil
from pathlib import Path

import pytest

from tests.official import corpora
from xfm.errors import UserError
from xfm.reproduce.read.imagenet import class_names, read_imagenet
from xfm.reproduce.read.karpathy import read_coco, read_flickr30k
from xfm.reproduce.read.nlvr import read_nlvr, read_nlvr2
from xfm.reproduce.read.pairs import read_memes, read_snli_ve
from xfm.reproduce.read.refcoco import read_refcoco
from xfm.reproduce.read.vqa import VG_WEIGHT, read_vqa


def test_coco_trains_on_restval_too_and_keeps_every_caption(tmp_path: Path) -> None:
    corpus = read_coco(corpora.write_coco(tmp_path))
    assert [len(rows) for rows in (corpus.train, *corpus.scored.values())] == [8, 4, 4]
    last = corpus.scored["test"][-1]
    assert (len(last.captions), last.key, last.image.name) == (6, 16, "COCO_val2014_000000000016.jpg")
    assert all(row.image.is_file() for rows in (corpus.train, *corpus.scored.values()) for row in rows)


def test_flickr30k(tmp_path: Path) -> None:
    corpus = read_flickr30k(corpora.write_flickr30k(tmp_path))
    assert [len(rows) for rows in (corpus.train, *corpus.scored.values())] == [6, 3, 4]
    assert all(row.image.is_file() and len(row.captions) == 5 for row in corpus.train)


def test_vqa_trains_on_both_years_and_genome(tmp_path: Path) -> None:
    coco, genome = tmp_path / "coco", tmp_path / "vg"
    folder = corpora.write_vqa(tmp_path / "vqa", coco, genome)
    corpus = read_vqa(folder, coco, genome)
    assert len(corpus.train) == 8 + 5 + 4
    assert [row.image.name for row in corpus.scored["minival"]] == ["COCO_val2014_000000000009.jpg"]
    assert not {row.image for row in corpus.train} & {row.image for row in corpus.scored["minival"]}
    assert [len(rows) for rows in corpus.hidden.values()] == [3, 3]
    assert corpus.answers == ("yes", "no", "2", "red", "blue")
    for row in corpus.train[:13]:
        assert sum(weight for _, weight in row.votes) == pytest.approx(1)
        assert max(row.votes, key=lambda vote: vote[1])[0] == row.answer
    genome_row = corpus.train[-1]
    assert (genome_row.answer, genome_row.votes) == ("the car", (("the car", VG_WEIGHT),))
    assert {row.kind for row in corpus.train[:13]} <= {"yes/no", "number", "other"}
    assert all(row.image.is_file() for rows in (corpus.train, *corpus.hidden.values()) for row in rows)
    apart = read_vqa(folder, coco, with_val=False)
    assert (len(apart.train), len(apart.scored["val"])) == (8, 6)


def test_nlvr2(tmp_path: Path) -> None:
    corpus = read_nlvr2(corpora.write_nlvr2(tmp_path))
    assert [len(rows) for rows in (corpus.train, *corpus.scored.values())] == [8, 4, 4]
    assert list(corpus.scored) == ["dev", "test-P"]
    for rows in (corpus.train, *corpus.scored.values()):
        assert all(image.is_file() for row in rows for image in row.images)
    assert [row.label for row in corpus.train[:4]] == [False, True, True, False]


def test_nlvr_trains_on_all_orders_and_tests_on_one(tmp_path: Path) -> None:
    corpus = read_nlvr(corpora.write_nlvr(tmp_path))
    assert [len(rows) for rows in (corpus.train, *corpus.scored.values())] == [7, 4, 4]
    assert all(row.image.is_file() for row in corpus.train)
    assert corpus.classes == ("false", "true")


@pytest.mark.parametrize(
    ("split_by", "scored"), [("unc", ["val", "testA", "testB"]), ("umd", ["val", "test"])]
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_refcoco(tmp_path: Path, split_by: str, scored: list[str], protocol: int) -> None:
    folder = corpora.write_refcoco(tmp_path / "refcoco", tmp_path / "coco", split_by, protocol)
    corpus = read_refcoco(folder, tmp_path / "coco" / "train2014", ("unc", "umd", "google"))
    assert list(corpus.scored) == scored
    assert len(corpus.train) == 12  # two sentences each
    width, height = corpora.SIZE
    box = corpus.train[0].box
    assert box == pytest.approx((1.5 / width, 2.25 / height, 12 / width, 22.25 / height))
    assert corpus.scored[scored[-1]][-1].box == pytest.approx((30 / width, 9.6 / height, 1, 1))  # clipped
    assert corpus.train[0].image.is_file()


def test_refcoco_names_a_wrong_box(tmp_path: Path) -> None:
    folder = corpora.write_refcoco(tmp_path / "refcoco", tmp_path / "coco")
    content = json.loads((folder / "instances.json").read_text())
    content["annotations"][2]["bbox"] = [10, 10, 500, 5]
    (folder / "instances.json").write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r'instances.json:3: the column "bbox" \[10, 10, 500, 5\] lies outside'
    ):
        read_refcoco(folder, tmp_path / "coco" / "train2014", ("unc",))


def test_folders_of_pictures_may_be_links(tmp_path: Path) -> None:
    """Many people keep the pictures of all data sets in one place."""
    corpora.write_coco(tmp_path / "elsewhere")
    folder = tmp_path / "data" / "coco"
    folder.mkdir(parents=True)
    (folder / "dataset_coco.json").write_text((tmp_path / "elsewhere" / "dataset_coco.json").read_text())
    for year in ("train2014", "val2014"):
        (folder / year).symlink_to(tmp_path / "elsewhere" / year)
    assert all(row.image.is_file() for row in read_coco(folder).train)


def test_snli_ve_leaves_out_rows_without_agreement(tmp_path: Path) -> None:
    corpus = read_snli_ve(corpora.write_snli_ve(tmp_path / "ve", tmp_path / "flickr"), tmp_path / "flickr")
    assert [len(rows) for rows in (corpus.train, *corpus.scored.values())] == [5, 5, 5]
    assert all(row.image.is_file() and row.label in corpus.classes for row in corpus.train)


def test_hateful_memes(tmp_path: Path) -> None:
    corpus = read_memes(corpora.write_memes(tmp_path))
    assert [row.label for row in corpus.train[:2]] == ["not_hateful", "hateful"]
    assert (list(corpus.scored), list(corpus.hidden)) == (["dev_seen"], ["test_seen"])


def test_imagenet_folders(tmp_path: Path) -> None:
    corpus = read_imagenet(corpora.write_imagenet(tmp_path))
    assert (len(corpus.train), len(corpus.scored["val"]), len(corpus.classes)) == (12, 6, 3)
    assert all(row.image.parent.name == row.label for row in corpus.train)


def test_names_of_imagenet_s_classes(tmp_path: Path) -> None:
    corpora.write_imagenet(tmp_path)
    names = class_names(tmp_path)
    assert names == {"n01440764": "tench", "n01443537": "goldfish", "n01484850": "great white shark"}
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764\n")
    with pytest.raises(
        UserError, match=r"LOC_synset_mapping\.txt:1: 'n01440764' is not a class and its names"
    ):
        class_names(tmp_path)
    (tmp_path / "LOC_synset_mapping.txt").unlink()
    assert class_names(tmp_path) is None


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


def test_flat_validation_pictures_are_told_apart(tmp_path: Path) -> None:
    corpora.write_imagenet(tmp_path)
    for folder in (tmp_path / "val").iterdir():
        for path in folder.iterdir():
            path.rename(tmp_path / "val" / path.name)
        folder.rmdir()
    with pytest.raises(UserError, match=r"torchvision\.datasets\.ImageNet"):
        read_imagenet(tmp_path)


@pytest.mark.parametrize(
    ("write", "read", "gone", "message"),
    [
        (corpora.write_coco, read_coco, "dataset_coco.json", r"dataset_coco\.json does not exist"),
        (corpora.write_coco, read_coco, "train2014", "put COCO's train2014"),
        (corpora.write_flickr30k, read_flickr30k, "dataset_flickr30k.json", "does not exist"),
        (corpora.write_nlvr2, read_nlvr2, "data/dev.json", r"dev\.json"),
        (corpora.write_nlvr2, read_nlvr2, "images/train", "put NLVR2's folders"),
        (corpora.write_nlvr, read_nlvr, "test/test.json", r"test/test\.json does not exist"),
        (corpora.write_memes, read_memes, "train.jsonl", r"train\.jsonl does not exist"),
        (corpora.write_memes, read_memes, "dev_seen.jsonl", r"dev_seen\.jsonl does not exist"),
    ],
)
def test_missing_files_are_named(tmp_path: Path, write, read, gone: str, message: str) -> None:
    write(tmp_path)
    shutil.rmtree(tmp_path / gone) if (tmp_path / gone).is_dir() else (tmp_path / gone).unlink()
    with pytest.raises(UserError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("write", "read", "file", "old", "new", "message"),
    [
        (
            corpora.write_coco,
            read_coco,
            "dataset_coco.json",
            '"restval"',
            '"rest"',
            r':7: .*"split" is \'rest\'',
        ),
        (
            corpora.write_coco,
            read_coco,
            "dataset_coco.json",
            '"COCO_train2014_000000000002.jpg"',
            '"../../../etc/passwd"',
            "leaves the folder of the pictures",
        ),
        (
            corpora.write_nlvr2,
            read_nlvr2,
            "data/train.json",
            '"False"',
            '"Maybe"',
            r'train.json:1: .*"label"',
        ),
        (
            corpora.write_nlvr2,
            read_nlvr2,
            "data/dev.json",
            "dev-0-1-0",
            "x-../../../y-0-0",
            "leaves the folder",
        ),
        (
            corpora.write_memes,
            read_memes,
            "train.jsonl",
            '"label": 1',
            '"label": 2',
            r'train.jsonl:2: .*"label"',
        ),
        (
            corpora.write_memes,
            read_memes,
            "train.jsonl",
            "img/00101",
            "../../../00101",
            "leaves the folder",
        ),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, write, read, file, old, new, message) -> None:
    folder = write(tmp_path / "one" / "two")
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message):
        read(folder)
