"""Official files that somebody has tampered with: one sentence about the row, never a traceback."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.official import corpora
from tests.official.corpora import written
from tests.official.glue import write_glue, write_parquet
from xfm.core.errors import UserError
from xfm.data.tables import TableRow
from xfm.data.tables.parquet import read_footer
from xfm.evaluation.benchmarks.read.glue import GlueTask, read_glue
from xfm.evaluation.benchmarks.read.imagenet import read_imagenet, unpacked
from xfm.evaluation.benchmarks.read.readers import integer, parquet_files, parquet_rows


@pytest.mark.parametrize("value", ["²", "--5", "1" * 5000, "٣", 2**63, -(2**63), 5.0, True, ""])
def test_what_is_no_whole_number_is_named(value: Any) -> None:
    row = TableRow({"id": value}, Path("a.json"), 3)
    with pytest.raises(UserError, match=r'a\.json:3: the column "id" is not a whole number'):
        integer(row, "id")


def test_numbers_of_any_length_in_a_pickle_are_refused(tmp_path: Path) -> None:
    """To print one of a million digits takes for ever."""
    read = written("refcoco", tmp_path)
    refs = pickle.loads((tmp_path / "refs(unc).p").read_bytes())
    refs[1]["ann_id"] = 10**10_000
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps(refs, 2))
    with pytest.raises(UserError, match=r"refs\(unc\)\.p: not a pickle of plain .*thousands of digits"):
        read()


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "1e999", "five"])
def test_scores_of_pairs_are_finite(tmp_path: Path, value: str) -> None:
    write_glue(tmp_path, GlueTask.STSB)
    path = tmp_path / "STS-B" / "train.tsv"
    header, first, *rest = path.read_text().split("\n")  # the score is the last cell
    path.write_text("\n".join([header, first.rpartition("\t")[0] + "\t" + value, *rest]))
    with pytest.raises(UserError, match=r'train\.tsv:2: the column "score" is not a number'):
        read_glue(tmp_path, GlueTask.STSB)


def test_unpacked_pictures_lie_where_they_were_unpacked(tmp_path: Path) -> None:
    """The folder of a cache may come from elsewhere, too."""
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "index.jsonl").write_text('{"image": "/etc/passwd", "label": "a"}\n')
    with pytest.raises(UserError, match=r'index\.jsonl:1: the column "image" leaves the folder'):
        unpacked(tmp_path / "train", list)


def test_a_footer_that_is_no_text_is_named(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    path = tmp_path / "train.parquet"
    parquet.write_table(arrow.table({"label": ["a"]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"label", b"\xff\xfe\xfd\xfc\xfb"))
    for read in (read_footer, lambda path: [*parquet_rows(path, ("a",))]):
        with pytest.raises(UserError, match=r"train\.parquet is not a Parquet file"):
            read(path)


def test_classes_that_no_training_picture_can_have_are_named(tmp_path: Path) -> None:
    """Scores of such rows would be those of another class."""
    pytest.importorskip("pyarrow")
    corpora.write_imagenet_parquet(tmp_path)
    data = (tmp_path / "raw" / "validation00.jpg").read_bytes()
    cells = {"image": [{"bytes": data, "path": "a.jpg"}], "label": [1]}
    path = tmp_path / "data" / "validation-00000-of-00001.parquet"
    write_parquet(path, cells, {"label": ("tench", "zebra")})
    with pytest.raises(UserError, match="the class 'zebra' is not among those of train"):
        read_imagenet(tmp_path)


def test_copies_of_numbered_files_are_no_parts(tmp_path: Path) -> None:
    """Browsers write them, and people rename files."""
    names = ("train-00000-of-00002", "train-00001-of-00002")
    for name in (*names, f"{names[0]} (1)", f"{names[1]}x", "train-a-of-b", "train-0-of-\u0662"):
        (tmp_path / f"{name}.parquet").touch()
    assert [path.stem for path in parquet_files(tmp_path, "train")] == [*names]
    (tmp_path / f"{names[0]}.parquet").unlink()
    with pytest.raises(UserError, match="1 of the 2 files of train"):
        parquet_files(tmp_path, "train")
