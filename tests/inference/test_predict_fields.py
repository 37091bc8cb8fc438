"""Tables for `xfm predict`, with fields under the names that `xfm finetune` has for them."""

from pathlib import Path
from typing import Any

import pytest

import xfm
from tests.data.picture_kinds import saved
from tests.inference.models import pictures, texts
from tests.inference.support import Models, Pipe, lines, photos, same, write_lines
from xfm.core.errors import UserError
from xfm.data.tables import ColumnMap
from xfm.inference.prediction import predict
from xfm.inference.row_sources import ReadOptions


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
