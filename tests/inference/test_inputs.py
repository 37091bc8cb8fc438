"""What people have at hand as inputs: tables, columns, arrays, folders, sets, nothing at all."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfm
from tests.data.picture_kinds import saved
from tests.inference.models import NEEDS, pictures, texts
from tests.inference.support import Models, Pipe, lines, photos, same, write_lines
from tests.refusals import expect_refusal
from xfm.core.errors import UserError
from xfm.data.tables import ColumnMap
from xfm.inference.prediction import predict
from xfm.inference.row_sources import ReadOptions

SAID = texts(5)


def library(name: str) -> Any:
    return pytest.importorskip(name)


TABLE = {"id": [*range(5)], "text": SAID, "label": ["x"] * 5}
MANY: dict[str, Callable[[], Any]] = {
    "list": lambda: SAID,
    "dict of lists": lambda: {"text": SAID},
    "dict of arrays": lambda: {"text": np.array(SAID)},
    "keys": lambda: dict.fromkeys(SAID).keys(),
    "array of objects": lambda: np.array(SAID, dtype=object),
    "Series of categories": lambda: library("pandas").Series(SAID, dtype="category"),
    "DataFrame": lambda: library("pandas").DataFrame(TABLE),
    "Dataset": lambda: library("datasets").Dataset.from_dict(TABLE),
    "column of a Dataset": lambda: library("datasets").Dataset.from_dict(TABLE)["text"],
    "pyarrow table": lambda: library("pyarrow").table(TABLE),
}


@pytest.mark.parametrize("form", MANY)
def test_all_forms_of_several_texts_give_a_list(classify: Pipe, form: str) -> None:
    found = classify(MANY[form]())
    assert isinstance(found, list)
    same(found, [classify(text) for text in SAID])


def test_a_stream_of_a_data_set_is_answered_as_it_goes(classify: Pipe) -> None:
    found = classify(library("datasets").Dataset.from_dict(TABLE).to_iterable_dataset())
    assert isinstance(found, Iterator)
    same(list(found), classify(SAID))


def test_columns_by_name_of_two_fields(ask: Pipe) -> None:
    shown = pictures(3)
    expected = [ask(image=one, question=text) for one, text in zip(shown, SAID, strict=False)]
    same(ask(image=shown, question=SAID[:3]), expected)
    same(ask({"image": np.array([*shown, None], dtype=object)[:3], "question": tuple(SAID[:3])}), expected)
    with pytest.raises(UserError, match="3 of image, but 2 of question; give as many of each"):
        ask(image=shown, question=SAID[:2])
    with pytest.raises(UserError, match="image is one and question several; give lists of the same length"):
        ask(image=shown[0], question=SAID[:2])


def test_a_table_of_pictures_and_texts(ask: Pipe, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in photos(tmp_path, 3)]
    expected = [ask(image=one, question=text) for one, text in zip(paths, SAID, strict=False)]
    columns = {"question": SAID[:3], "image": paths}
    same(ask(library("pandas").DataFrame(columns)), expected)
    table = library("datasets").Dataset.from_dict(columns)
    same(ask(table), expected)
    kind = library("datasets").Image
    same(ask(table.cast_column("image", kind())), expected)
    same(ask(table.cast_column("image", kind(decode=False))), expected)


def test_two_pictures_in_two_columns(judge: Pipe) -> None:
    shown = pictures(4)
    expected = [judge(images=shown[n : n + 2], text=SAID[n]) for n in range(3)]
    same(judge(left=shown[:3], right=shown[1:], text=SAID[:3]), expected)
    same(judge(images=[shown[n : n + 2] for n in range(3)], text=SAID[:3]), expected)
    same(judge(left=shown[0], right=shown[1], text=SAID[0]), expected[0])
    frame = library("pandas").DataFrame({"left": shown[:3], "right": shown[1:], "text": SAID[:3]})
    same(judge(frame), expected)
    with pytest.raises(UserError, match="right is missing; give left and right, or images"):
        judge(left=shown[0], text=SAID[0])
    with pytest.raises(UserError, match="images is given twice"):
        judge(left=shown[0], right=shown[1], images=shown[:2], text=SAID[0])


def test_empty_cells_of_an_optional_column_are_no_field(classify: Pipe) -> None:
    frame = library("pandas").DataFrame({"text": SAID[:3], "text_pair": ["red", None, float("nan")]})
    expected = [classify(text=SAID[0], text_pair="red"), *classify(SAID[1:3])]
    same(classify(frame), expected)
    frame["text_pair"] = frame["text_pair"].astype("string")  # pandas.NA
    same(classify(frame), expected)
    frame["text"] = ["a", None, "b"]
    with pytest.raises(UserError, match="input 1: the field text is missing"):
        classify(frame)


# ---------------------------------------------------------------- folders
def test_a_folder_is_its_pictures_in_the_order_of_their_names(
    models: Models, embed: Pipe, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    names = ["10.png", "2.png", "below/1.png"]
    for name, picture in zip(names, pictures(3), strict=True):
        picture.save(folder / name)
    look = xfm.pipeline("image-classification", model=models["image-classification"])
    expected = [look(folder / name) for name in names]
    same(look(folder), expected)
    same(look(str(folder)), expected)  # where only a picture can be meant
    np.testing.assert_allclose(embed(folder), [embed(folder / name) for name in names], atol=1e-6)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no pictures"):
        look(tmp_path / "empty")
    match = xfm.pipeline("image-text-matching", model=models[None])
    with pytest.raises(UserError, match=r"photos is a folder of pictures, and .* also needs a text \(text\)"):
        match(folder)


# ---------------------------------------------------------------- what cannot be meant
MEANT_BY_NOBODY: list[tuple[str, Any, str]] = [
    ("text-classification", frozenset({"a"}), "a set has no order; give a list"),
    ("text-classification", None, r"the input is None; give .*, such as "),
    ("text-classification", 3, r"text must be a text, not int"),
    ("text-classification", [["a", "b"]], r'input 0: .* \{"text": "a text", "text_pair": .*\}, not a list'),
    ("image-classification", "", "the path of the picture is empty"),
    ("image-text-matching", {"image": "a.png"}, "the field text is missing; an input has image, text"),
    ("image-text-matching", {"image": "a.png", "txt": "b"}, "no field 'txt'; did you mean text"),
    ("grounding", {"image": "a.png", "text": "b", "phrase": "c"}, "the field text is given twice"),
    ("embed", {"text": "a", "image": "b.png"}, "takes either text or image"),
    ("reasoning", {"images": pictures(3), "text": "a"}, "a list of two pictures, not a list of 3"),
]


@pytest.mark.parametrize(("task", "given", "words"), MEANT_BY_NOBODY)
def test_what_cannot_be_meant_is_named(models: Models, task: str, given: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        xfm.pipeline(task, model=models[NEEDS[task]])(given)


ONE = pictures(1)
ZERO_SHOT = "zero-shot-image-classification"
REFUSED: list[tuple[str, list[Any], dict[str, Any], str]] = [
    ("text-classification", [], {"top_k": 1}, "give an input, such as {"),
    ("vqa", ["what is it"], {}, 'several parts: give {"image": "a.png", "question": "a text"}'),
    ("vqa", [], {"image": "a.png", "question": "it", "topk": 3}, "no field 'topk'; did you mean top_k"),
    ("text-classification", [{}], {"top_k": None}, "top_k must be a whole number such as 5, not None"),
    ("captioning", [{}], {"temperature": "hot"}, "temperature must be a number such as 1.0, not 'hot'"),
    ("captioning", [ONE], {"max_tokens": 200}, "max_tokens is 200, but the model writes at most 129"),
    ("fill-mask", [["a <mask>", "a square"]], {}, "input 1: the text has no <mask> among its first 128"),
    (ZERO_SHOT, [ONE], {}, "needs candidate_labels"),
    (ZERO_SHOT, [ONE], {"candidate_labels": ["a"], "top_k": -1}, "top_k is -1"),
    (ZERO_SHOT, [ONE], {"candidate_labels": ["a", "a"]}, "names 'a' twice"),
    ("retrieval", ["red"], {}, "something to search in"),
    ("retrieval", ["red"], {"images": ONE[0]}, "are a list of pictures or a folder, not"),
]


@pytest.mark.parametrize(("task", "given", "named", "words"), REFUSED)
def test_wrong_calls_are_named(
    models: Models, task: str, given: list[Any], named: dict[str, Any], words: str
) -> None:
    pipe = xfm.pipeline(task, model=models[NEEDS[task]])
    with expect_refusal(words):
        pipe(*given, **named)


# ---------------------------------------------------------------- lists as texts
def test_names_with_commas_are_several(models: Models) -> None:
    look = xfm.pipeline("zero-shot-image-classification", model=models[None])
    picture = pictures(1)[0]
    names = ["red", "dark blue", "green"]
    for given in ("red, dark blue ,green", tuple(names), np.array(names)):
        same(look(picture, candidate_labels=given), look(picture, candidate_labels=names))
    (one,) = look(picture, candidate_labels="red,")
    assert one["label"] == "red"
    (kept,) = look(picture, candidate_labels=["red, blue"])  # a list is taken as it is
    assert kept["label"] == "red, blue"


# ---------------------------------------------------------------- tables of predict, by names of fields
def answers(pipe: Pipe, source: Path, columns: dict[str, str]) -> list[Any]:
    """What is written for the rows of a table."""
    out = source.with_name("out.jsonl")
    predict(pipe, source, out, reading=ReadOptions(pipe.spec.inputs, ColumnMap(columns)), restart=True)
    return [row["prediction"] for row in lines(out)]


def test_two_pictures_in_two_columns_or_in_one(judge: Pipe, tmp_path: Path) -> None:
    """As fine-tuning reads them: `left` and `right`, or a list; paths, or the pictures themselves."""
    shown, said = pictures(6), texts(5)
    photos(tmp_path, 6)
    expected = judge([{"images": shown[n : n + 2], "text": text} for n, text in enumerate(said)])
    rows = [f"{n}.png,{n + 1}.png,{text}" for n, text in enumerate(said)]
    (tmp_path / "a.csv").write_text("\n".join(["left,right,text", *rows]) + "\n")
    same(answers(judge, tmp_path / "a.csv", {}), expected)
    (tmp_path / "b.csv").write_text("\n".join(["first,second,text", *rows]) + "\n")
    same(answers(judge, tmp_path / "b.csv", {"left": "first", "right": "second"}), expected)
    listed = [{"images": [f"{n}.png", f"{n + 1}.png"], "text": text} for n, text in enumerate(said)]
    same(answers(judge, write_lines(tmp_path / "c.jsonl", listed), {}), expected)
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    held = [{"bytes": saved(picture, "PNG"), "path": None} for picture in shown]
    pairs = [{"left": held[n], "right": held[n + 1], "text": text} for n, text in enumerate(said)]
    parquet.write_table(pyarrow.Table.from_pylist(pairs), tmp_path / "d.parquet")
    same(answers(judge, tmp_path / "d.parquet", {}), expected)
    both = [{"images": [row["left"], row["right"]], "text": row["text"]} for row in pairs]
    parquet.write_table(pyarrow.Table.from_pylist(both), tmp_path / "e.parquet")
    same(answers(judge, tmp_path / "e.parquet", {}), expected)


def test_the_column_map_of_a_fine_tuning_is_understood(
    models: Models, classify: Pipe, tmp_path: Path
) -> None:
    """A phrase and a second text may be mapped under these names."""
    locate = xfm.pipeline("grounding", model=models["grounding"])
    pictures(1)[0].save(tmp_path / "0.png")
    (tmp_path / "a.csv").write_text("image,what\n0.png,a red square\n")
    wanted = locate(image=tmp_path / "0.png", text="a red square")
    same(answers(locate, tmp_path / "a.csv", {"phrase": "what"}), [wanted])
    with pytest.raises(UserError, match="--columns: text and phrase are one field; name it once"):
        answers(locate, tmp_path / "a.csv", {"phrase": "what", "text": "what"})
    (tmp_path / "b.csv").write_text("one,other\na red square,it is blue\n")
    found = answers(classify, tmp_path / "b.csv", {"text": "one", "second": "other"})
    same(found, [classify(text="a red square", text_pair="it is blue")])
