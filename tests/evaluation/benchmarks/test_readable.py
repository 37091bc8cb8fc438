"""Pictures of a benchmark that cannot be read."""

from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from tests.data.picture_kinds import png, size_chunk
from tests.evaluation.tiny import save_tiny_model
from tests.official.pictures import picture
from xfm.data.folders import FolderReport
from xfm.data.left_out import LeftOut
from xfm.errors import UserError
from xfm.evaluation.benchmarks.read.corpus import Corpus
from xfm.evaluation.benchmarks.readable import answered, note_reports
from xfm.finetuning.start import load_base
from xfm.finetuning.usable import usable_rows
from xfm.modeling.folder import Preprocessing
from xfm.tasks import pictures as task_pictures
from xfm.tasks.image_classification import ImageClassificationTask
from xfm.tasks.lazy_rows import ClassFolders
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import Labelled
from xfm.tasks.splits import SplitRows

LOOKS_WHOLE = png(size_chunk(40, 30), (b"IDAT", b"broken"), (b"IEND", b""))


@pytest.fixture(scope="module")
def preprocessing(tmp_path_factory: pytest.TempPathFactory) -> Preprocessing:
    return load_base(save_tiny_model(tmp_path_factory.mktemp("model") / "m")).preprocessing


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
    decoded, load = list[Path](), task_pictures.load_decoded

    def noted(path):
        decoded.append(path)
        return load(path)

    monkeypatch.setattr(task_pictures, "load_decoded", noted)
    return decoded


def test_lazily_only_what_stays_in_memory_is_decoded(
    tmp_path: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = corpus(tmp_path)
    bad = data.train[1].image
    bad.write_bytes(b"a text")
    decoded, side = counted(monkeypatch), preprocessing.shape
    kept, left_out = Pictures(preprocessing, limit=9 * 3 * side[0] * side[1]), LeftOut()
    rows = SplitRows(data.train, data.scored["val"], labels=data.classes)
    usable = usable_rows(ImageClassificationTask, rows, kept, left_out, lazily=True)
    assert len(decoded) == 9
    assert {row.image for row in data.scored["val"]} <= set(decoded)
    assert list(usable.train) == [row for row in data.train if row.image != bad]
    assert not isinstance(usable.train, list)
    assert list(left_out.rows) == ["train row 2"]
    assert usable.valid is rows.valid


def test_what_the_reader_says_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = FolderReport("a.json", {"annotations": ["7"]})
    data = replace(corpus(tmp_path), left_out={"vg.json:3, question 1": "no picture"}, reports=(report,))
    note_reports(data, found := LeftOut())
    assert found.by_split == {"train": 1}
    assert found.rows == {"vg.json:3, question 1": "no picture"}
    assert "a.json: left out 1 annotations (7)" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"vg\.json:3, question 1: no picture"):
        note_reports(data, LeftOut(0))


def test_a_row_whose_picture_cannot_be_read_is_scored_in_no_way(
    tmp_path: Path, preprocessing: Preprocessing
) -> None:
    rows = corpus(tmp_path).scored["val"]
    rows[1].image.write_bytes(LOOKS_WHOLE)
    rows[4].image.write_bytes(b"")
    pictures, left_out = Pictures(preprocessing), LeftOut()
    before = pictures.lost = LeftOut()

    def pixels() -> Tensor:
        return pictures.pixels([row.image for row in rows])

    found, whole = answered(rows, pictures, "val", left_out, pixels)
    assert whole == [True, False, True, True, False, True]
    assert found[1].equal(found[4])
    assert list(left_out.rows) == ["val row 2", "val row 5"]
    assert "does not decode" in left_out.rows["val row 2"]
    assert pictures.lost is before
    assert not before.rows
    with pytest.raises(UserError, match="2 rows cannot be used"):
        answered(rows, pictures, "val", LeftOut(1), pixels)
