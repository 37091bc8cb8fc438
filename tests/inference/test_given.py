"""What people have at hand as inputs: tables, columns, arrays, folders, sets, nothing at all."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfm
from tests.inference.models import NEEDS, pictures, texts
from tests.inference.support import Models, same
from xfm.errors import UserError
from xfm.inference.base import Pipeline

SAID = texts(5)


@pytest.fixture
def classify(models: Models) -> Pipeline[Any, Any]:
    return xfm.pipeline("text-classification", model=models["text-classification"], batch_size=2)


@pytest.fixture
def ask(models: Models) -> Pipeline[Any, Any]:
    return xfm.pipeline("vqa", model=models["vqa"])


def pandas() -> Any:
    return pytest.importorskip("pandas")


def datasets() -> Any:
    return pytest.importorskip("datasets")


TABLE = {"id": [*range(5)], "text": SAID, "label": ["x"] * 5}
MANY: dict[str, Callable[[], Any]] = {
    "list": lambda: SAID,
    "tuple": lambda: tuple(SAID),
    "dict of lists": lambda: {"text": SAID},
    "dict of arrays": lambda: {"text": np.array(SAID)},
    "keys": lambda: dict.fromkeys(SAID).keys(),
    "array of strings": lambda: np.array(SAID),
    "array of objects": lambda: np.array(SAID, dtype=object),
    "array of variable strings": lambda: np.array(SAID, dtype=np.dtypes.StringDType()),
    "Series": lambda: pandas().Series(SAID, index=range(7, 12)),
    "Series of categories": lambda: pandas().Series(SAID, dtype="category"),
    "Index": lambda: pandas().Index(SAID),
    "DataFrame": lambda: pandas().DataFrame(TABLE),
    "Dataset": lambda: datasets().Dataset.from_dict(TABLE),
    "column of a Dataset": lambda: datasets().Dataset.from_dict(TABLE)["text"],
    "polars frame": lambda: pytest.importorskip("polars").DataFrame(TABLE),
    "polars column": lambda: pytest.importorskip("polars").Series(SAID),
    "pyarrow table": lambda: pytest.importorskip("pyarrow").table(TABLE),
    "pyarrow column": lambda: pytest.importorskip("pyarrow").array(SAID),
}


@pytest.mark.parametrize("form", MANY)
def test_all_forms_of_several_texts_give_a_list(classify: Pipeline[Any, Any], form: str) -> None:
    found = classify(MANY[form]())
    assert isinstance(found, list)
    same(found, [classify(text) for text in SAID])


@pytest.mark.parametrize(
    "make", [lambda: iter(SAID), lambda: (one for one in SAID), lambda: (line for line in SAID)]
)
def test_an_iterator_is_answered_as_it_goes(
    classify: Pipeline[Any, Any], make: Callable[[], Iterator[str]]
) -> None:
    found = classify(make())
    assert isinstance(found, Iterator)
    same(list(found), classify(SAID))


def test_a_stream_of_a_dataset_is_answered_as_it_goes(classify: Pipeline[Any, Any]) -> None:
    stream = datasets().Dataset.from_dict(TABLE).to_iterable_dataset()
    found = classify(stream)
    assert isinstance(found, Iterator)
    same(list(found), classify(SAID))


def test_columns_by_name_of_two_fields(ask: Pipeline[Any, Any]) -> None:
    shown = pictures(3)
    expected = [ask(image=one, question=text) for one, text in zip(shown, SAID, strict=False)]
    same(ask(image=shown, question=SAID[:3]), expected)
    same(ask({"image": np.array([*shown, None], dtype=object)[:3], "question": tuple(SAID[:3])}), expected)
    with pytest.raises(UserError, match="3 of image, but 2 of question; give as many of each"):
        ask(image=shown, question=SAID[:2])
    with pytest.raises(UserError, match="image is one and question several; give lists of the same length"):
        ask(image=shown[0], question=SAID[:2])


def test_a_table_of_pictures_and_texts(ask: Pipeline[Any, Any], tmp_path: Path) -> None:
    shown = pictures(3)
    for number, picture in enumerate(shown):
        picture.save(tmp_path / f"{number}.png")
    paths = [str(tmp_path / f"{n}.png") for n in range(3)]
    expected = [ask(image=one, question=text) for one, text in zip(paths, SAID, strict=False)]
    columns = {"question": SAID[:3], "image": paths}
    same(ask(pandas().DataFrame(columns)), expected)
    table = datasets().Dataset.from_dict(columns)
    same(ask(table), expected)
    kind = datasets().Image
    same(ask(table.cast_column("image", kind())), expected)
    same(ask(table.cast_column("image", kind(decode=False))), expected)


def test_two_pictures_in_two_columns(models: Models) -> None:
    judge = xfm.pipeline("visual-reasoning", model=models["reasoning"])
    shown = pictures(4)
    expected = [judge(images=shown[n : n + 2], text=SAID[n]) for n in range(3)]
    same(judge(left=shown[:3], right=shown[1:], text=SAID[:3]), expected)
    same(judge(images=[shown[n : n + 2] for n in range(3)], text=SAID[:3]), expected)
    same(judge(left=shown[0], right=shown[1], text=SAID[0]), expected[0])
    frame = pandas().DataFrame({"left": shown[:3], "right": shown[1:], "text": SAID[:3]})
    same(judge(frame), expected)
    with pytest.raises(UserError, match="right is missing; give left and right, or images"):
        judge(left=shown[0], text=SAID[0])
    with pytest.raises(UserError, match="images is given twice"):
        judge(left=shown[0], right=shown[1], images=shown[:2], text=SAID[0])


def test_empty_cells_of_an_optional_column_are_no_field(classify: Pipeline[Any, Any]) -> None:
    frame = pandas().DataFrame({"text": SAID[:3], "text_pair": ["red", None, float("nan")]})
    expected = [classify(text=SAID[0], text_pair="red"), *classify(SAID[1:3])]
    same(classify(frame), expected)
    frame["text_pair"] = frame["text_pair"].astype("string")  # pandas.NA
    same(classify(frame), expected)
    frame["text"] = ["a", None, "b"]
    with pytest.raises(UserError, match="input 1: the field text is missing"):
        classify(frame)


def test_a_table_without_the_column_is_told_which_there_are(ask: Pipeline[Any, Any]) -> None:
    for table in (
        pandas().DataFrame({"photo": ["a.png"], "question": ["what"]}),
        datasets().Dataset.from_dict({"photo": ["a.png"], "question": ["what"]}),
    ):
        with pytest.raises(UserError, match="has no column 'image', only photo, question; rename one"):
            ask(table)


# ---------------------------------------------------------------- folders
def test_a_folder_is_its_pictures_in_the_order_of_their_names(models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    names = ["10.png", "2.png", "below/1.png"]
    for name, picture in zip(names, pictures(3), strict=True):
        picture.save(folder / name)
    look = xfm.pipeline("image-classification", model=models["image-classification"])
    expected = [look(folder / name) for name in names]
    same(look(folder), expected)
    same(look(str(folder)), expected)  # where only a picture can be meant
    embed = xfm.pipeline("embed", model=models[None])
    np.testing.assert_allclose(embed(folder), [embed(folder / name) for name in names], atol=1e-6)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no pictures"):
        look(tmp_path / "empty")
    match = xfm.pipeline("image-text-matching", model=models[None])
    with pytest.raises(UserError, match=r"photos is a folder of pictures, and .* also needs a text \(text\)"):
        match(folder)


def test_a_gallery_may_be_a_folder_but_no_single_thing(models: Models, tmp_path: Path) -> None:
    search = xfm.pipeline("retrieval", model=models[None])
    for number, picture in enumerate(pictures(3)):
        picture.save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    expected = search("a red square", images=paths)
    same(search("a red square", images=tmp_path), expected)
    same(search("a red square", images=str(tmp_path)), expected)
    for one in (str(paths[0]), paths[0], pictures(1)[0], 3):
        with pytest.raises(UserError, match="images of a gallery are a list of pictures or a folder, not"):
            search("a red square", images=one)
    with pytest.raises(UserError, match=r"texts of a gallery are a list such as \['a dog', 'a cat'\], not"):
        search("a red square", texts="a dog, a cat")


# ---------------------------------------------------------------- what cannot be meant
MEANT_BY_NOBODY: list[tuple[str, Any, str]] = [
    ("text-classification", {"a red square"}, "a set has no order; give a list"),
    ("text-classification", frozenset({"a"}), "a set has no order; give a list"),
    ("text-classification", None, r"the input is None; give .*, such as pipe\('a text'\)"),
    ("text-classification", 3, r"text must be a text, not int"),
    ("text-classification", 2.5, "text must be a text, not float"),
    ("text-classification", True, "text must be a text, not bool"),
    ("text-classification", [None], r"input 0: the input is None"),
    ("text-classification", [3], "input 0: text must be a text, not int"),
    (
        "text-classification",
        [["a", "b"], ["c", "d"]],
        r'input 0: an input is \{"text": "a text", "text_pair": "a text"\}, not a list',
    ),
    ("text-classification", np.array([["a", "b"]]), r"input 0: .*not a list"),
    ("text-classification", np.array([1, 2]), "text must be a text, not ndarray"),
    ("text-classification", range(2), "input 0: text must be a text, not int"),
    ("text-classification", b"bytes", "text must be a text, not bytes"),
    ("text-classification", str, "text must be a text, not type"),
    ("text-classification", print, "text must be a text, not builtin_function_or_method"),
    ("text-classification", np.array(["a", None], dtype=object), "input 1: the input is None"),
    ("text-classification", [float("nan")], r"input 0: text must be a text, not float"),
    ("image-classification", None, "the input is None"),
    ("image-classification", 3, "a picture must be .* not int"),
    ("image-classification", "", "the path of the picture is empty"),
    ("image-classification", [3], "input 0: a picture must be .* not int"),
    ("image-classification", {"a.png"}, "a set has no order"),
    ("image-classification", np.array([1, 2, 3]), "a picture must be"),
    ("image-classification", [["a.png"]], r'input 0: an input is \{"image": "a.png"\}, not a list'),
    ("image-classification", np.array(["no.png"]), "input 0: the picture no.png cannot be read"),
    ("image-text-matching", {"image": "a.png"}, "the field text is missing; an input has image, text"),
    ("image-text-matching", {"image": "a.png", "txt": "b"}, "no field 'txt'; did you mean text"),
    ("image-text-matching", "a text", r'give {"image": "a.png", "text": "a text"}, not a bare str'),
    ("grounding", {"image": "a.png", "text": "b", "phrase": "c"}, "the field text is given twice"),
    ("grounding", {"image": pictures(1)[0], "text": 3}, "text must be a text, not int"),
    ("grounding", {"image": pictures(1)[0], "text": "a \ud83d"}, "text is not Unicode"),
    ("embed", {"text": "a", "image": "b.png"}, "takes either text or image"),
    ("embed", {}, "takes either text or image"),
    ("embed", {"text": None}, "takes either text or image"),
    ("visual-reasoning", {"images": pictures(3), "text": "a"}, "a list of two pictures, not a list of 3"),
    ("visual-reasoning", {"images": "a.png", "text": "a"}, "a list of two pictures, not str"),
]


@pytest.mark.parametrize(("task", "given", "words"), MEANT_BY_NOBODY)
def test_what_cannot_be_meant_is_named(models: Models, task: str, given: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        xfm.pipeline(task, model=models[NEEDS[task]])(given)


def test_calls_without_an_input_show_one(models: Models) -> None:
    classify = xfm.pipeline("text-classification", model=models["text-classification"])
    with pytest.raises(UserError, match=r"give an input, such as pipe\('a text'\)"):
        classify()
    with pytest.raises(UserError, match=r"give an input, such as pipe\('a text'\)"):
        classify(top_k=1)
    ask = xfm.pipeline("vqa", model=models["vqa"])
    with pytest.raises(UserError, match=r"such as pipe\(image='a\.png', question='a text'\)"):
        ask()
    with pytest.raises(UserError, match=r'several parts: give \{"image": "a\.png", "question": "a text"\}'):
        ask("what is it")
    with pytest.raises(UserError, match="there is no field 'topk'; did you mean top_k"):
        ask(image="a.png", question="what", topk=3)


@pytest.mark.parametrize(
    ("task", "option", "value", "words"),
    [
        ("text-classification", "top_k", "3", "top_k must be a whole number such as 5, not '3'"),
        ("text-classification", "top_k", 2.5, "top_k must be a whole number such as 5, not 2.5"),
        ("text-classification", "top_k", None, "top_k must be a whole number such as 5, not None"),
        ("text-classification", "top_k", True, "top_k must be a whole number such as 5, not True"),
        ("vqa", "free", "no", "free must be True or False such as False, not 'no'"),
        ("captioning", "temperature", "hot", r"temperature must be a number such as 1\.0, not 'hot'"),
    ],
)
def test_options_of_another_kind_are_named(
    models: Models, task: str, option: str, value: Any, words: str
) -> None:
    pipe = xfm.pipeline(task, model=models[str(task)])
    with pytest.raises(UserError, match=words):
        pipe({}, **{option: value})


def test_numbers_of_numpy_are_options(classify: Pipeline[Any, Any]) -> None:
    assert len(classify("a red square", top_k=np.int64(2))) == 2


# ---------------------------------------------------------------- lists as texts
def test_names_with_commas_are_several(models: Models) -> None:
    look = xfm.pipeline("zero-shot-image-classification", model=models[None])
    picture = pictures(1)[0]
    expected = look(picture, candidate_labels=["red", "dark blue", "green"])
    same(look(picture, candidate_labels="red, dark blue ,green"), expected)
    same(look(picture, candidate_labels=("red", "dark blue", "green")), expected)
    same(look(picture, candidate_labels=np.array(["red", "dark blue", "green"])), expected)
    (one,) = look(picture, candidate_labels="red,")
    assert one["label"] == "red"
    (kept,) = look(picture, candidate_labels=["red, blue"])  # a list is taken as it is
    assert kept["label"] == "red, blue"
    for wrong, words in (
        (" , ", "candidate_labels names nothing"),
        ("red, blue, red", "candidate_labels names 'red' twice"),
        ({"red", "blue"}, "candidate_labels: a set has no order; give a list"),
        (3, r"candidate_labels must be a list of texts, such as \['red', 'blue'\], not int"),
        ([1, 2], "candidate_labels must be a list of texts.*not a list with int"),
    ):
        with pytest.raises(UserError, match=words):
            look(picture, candidate_labels=wrong)


def test_a_sentence_with_a_comma_stays_one(models: Models) -> None:
    look = xfm.pipeline("zero-shot-image-classification", model=models[None])
    given = {"candidate_labels": ["red", "blue"]}
    template = "a photo, not a drawing, of {}"
    same(
        look(pictures(1)[0], hypothesis_template=template, **given),
        look(pictures(1)[0], hypothesis_template=[template], **given),
    )


def test_answers_with_commas_are_several(ask: Pipeline[Any, Any]) -> None:
    given = {"image": pictures(1)[0], "question": "what is it"}
    same(ask(**given, answers="red, dark blue"), ask(**given, answers=["red", "dark blue"]))
