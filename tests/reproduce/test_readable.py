"""What is known of pictures before any is decoded, and what becomes of those that only looked whole."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.picture_kinds import png, size_chunk
from tests.evaluation.tiny import save_tiny_model
from tests.official.pictures import picture
from xfm.config.benchmark import BenchmarkRecipe
from xfm.data.folders import FolderReport
from xfm.data.left_out import LeftOut
from xfm.errors import UserError
from xfm.finetuning.row_filter import usable_rows
from xfm.finetuning.start import load_base
from xfm.modeling.folder import Preprocessing
from xfm.reproduce.files.unpacked import CACHE
from xfm.reproduce.found import Setting
from xfm.reproduce.read.corpus import Corpus
from xfm.reproduce.readable import KNOWN, answered, looked_through
from xfm.tasks import pictures as task_pictures
from xfm.tasks.image_classification import ImageClassificationTask
from xfm.tasks.lazy_rows import ClassFolders
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import Labelled, SplitRows

LOOKS_WHOLE = png(size_chunk(40, 30), (b"IDAT", b"broken"), (b"IEND", b""))


@pytest.fixture(scope="module")
def preprocessing(tmp_path_factory: pytest.TempPathFactory) -> Preprocessing:
    return load_base(save_tiny_model(tmp_path_factory.mktemp("model") / "m")).preprocessing


def setting(root: Path, max_bad: int | None = None) -> Setting:
    out = root / "out" / "imagenet" / "FT" / "recommended"
    return Setting("m", root, out, BenchmarkRecipe(), progress=False, left_out=LeftOut(max_bad))


def corpus(root: Path, train: int = 12, test: int = 6) -> Corpus[Labelled]:
    classes: dict[str, dict[str, list[str]]] = {"train": {}, "val": {}}
    for split, count in (("train", train), ("val", test)):
        for number in range(count):
            label = f"n{number % 2}"
            path = picture(root / split / label / f"{number:02}.png", number)
            classes[split].setdefault(label, []).append(path.name)
    rows = {split: ClassFolders(root / split, found) for split, found in classes.items()}
    hidden = [Labelled(picture(root / "hidden" / f"{n}.png", n), "n0") for n in range(4)]
    return Corpus(rows["train"], {"val": rows["val"]}, {"test": hidden}, ("n0", "n1"))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The pictures that are decoded from now on."""
    decoded, load = list[Path](), task_pictures.load_decoded

    def noted(path):
        decoded.append(path)
        return load(path)

    monkeypatch.setattr(task_pictures, "load_decoded", noted)
    return decoded


def test_of_what_looked_whole_only_what_stays_in_memory_is_decoded(
    tmp_path: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, every = corpus(tmp_path), setting(tmp_path)
    bad = data.train[3].image
    bad.write_bytes(b"a text")
    found = looked_through(data, every)
    assert list(found.looked.bad) == [bad]
    decoded = counted(monkeypatch)
    kept, left_out = (
        Pictures(preprocessing, limit=9 * 3 * preprocessing.shape[0] * preprocessing.shape[1]),
        LeftOut(),
    )
    rows = SplitRows(data.train, data.scored["val"], labels=data.classes)
    usable = usable_rows(ImageClassificationTask, rows, kept, left_out, looked=found.looked)
    assert len(decoded) == 9
    assert {row.image for row in data.scored["val"]} <= set(decoded)
    assert list(usable.train) == [row for row in data.train if row.image != bad]
    assert not isinstance(usable.train, list)
    assert list(left_out.rows) == ["train row 4"]
    assert usable.valid is rows.valid
    of_folders = {path for path in kept.marks if path.is_dir()}  # digests of names and sizes
    assert of_folders == {tmp_path / "train" / "n0", tmp_path / "train" / "n1"}


def test_the_second_start_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = corpus(tmp_path)
    looked_through(data, setting(tmp_path))
    assert (tmp_path / CACHE / KNOWN).is_file()
    monkeypatch.setattr("xfm.data.glance._looks_whole", lambda *given: pytest.fail("read"))
    assert looked_through(data, setting(tmp_path)).looked.bad == {}


def test_where_the_data_is_closed_the_results_remember(tmp_path: Path) -> None:
    data = corpus(tmp_path)
    (tmp_path / CACHE).write_text("a file is in the way")
    looked_through(data, setting(tmp_path))
    assert (tmp_path / "out" / CACHE / KNOWN).is_file()


@pytest.mark.parametrize("split", ["train", "val", "hidden"])
def test_too_many_bad_pictures_of_any_split_end_it_before_the_training(tmp_path: Path, split: str) -> None:
    data = corpus(tmp_path)
    for path in sorted((tmp_path / split).rglob("*.png"))[:2]:
        path.write_bytes(b"a text")
    told = {"hidden": "test row"}.get(split, f"{split} row")
    with pytest.raises(UserError, match=rf"{told} \d+: .*looks like a text.*--max-bad leaves out 1 at most"):
        looked_through(data, setting(tmp_path, 1))
    assert len(looked_through(data, setting(tmp_path, 2)).looked.bad) == 2


def test_what_the_reader_says_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = FolderReport("a.json", {"annotations": ["7"]})
    data = replace(corpus(tmp_path), left_out={"vg.json:3, question 1": "no picture"}, reports=(report,))
    found = looked_through(data, setting(tmp_path)).left_out
    assert found.by_split == {"train": 1}
    assert found.rows == {"vg.json:3, question 1": "no picture"}
    assert "a.json: left out 1 annotations (7)" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"vg\.json:3, question 1: no picture"):
        looked_through(data, setting(tmp_path, 0))


def test_a_row_whose_picture_only_looked_whole_is_scored_in_no_way(
    tmp_path: Path, preprocessing: Preprocessing
) -> None:
    data = corpus(tmp_path)
    rows = data.scored["val"]
    rows[1].image.write_bytes(LOOKS_WHOLE)
    rows[4].image.write_bytes(b"")
    found = looked_through(data, setting(tmp_path))
    assert list(found.looked.bad) == [rows[4].image]
    pictures = Pictures(preprocessing)
    before = pictures.lost = LeftOut()
    pixels, whole = answered(
        rows, pictures, "val", found, lambda: pictures.pixels([row.image for row in rows])
    )
    assert whole == [True, False, True, True, False, True]
    assert pixels[1].equal(pixels[4])
    assert list(found.left_out.rows) == ["val row 2", "val row 5"]
    assert "does not decode" in found.left_out.rows["val row 2"]
    assert pictures.lost is before
    assert not before.rows
    again = replace(found, left_out=LeftOut(1))
    with pytest.raises(UserError, match="2 rows cannot be used"):
        answered(rows, pictures, "val", again, lambda: pictures.pixels([row.image for row in rows]))
