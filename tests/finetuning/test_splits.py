"""A split that one fine-tuning saved is that of another."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.finetuning.conftest import Cli, on_sample
from tests.refusals import expect_refusal
from xfm.config.finetune import FinetuneConfig
from xfm.data.tables import TableRow
from xfm.finetuning.data import Tables, read_data
from xfm.finetuning.splits import part_as, write_split
from xfm.tasks.text_classification import TextClassificationTask
from xfm.training.checkpoint import checkpoint_path


def test_the_rows_are_parted_as_before(samples: Path) -> None:
    """Whatever the seed and the shares; the new run saves the split, too."""
    table = samples / "reviews.csv"
    first, _ = read_data(TextClassificationTask, Tables(table), FinetuneConfig(seed=3), samples / "a")
    other = FinetuneConfig(seed=4, valid_share=0.3)
    assert read_data(TextClassificationTask, Tables(table), other, samples / "b")[0] != first
    for split in (samples / "a", samples / "a" / "split.json"):
        again, origin = read_data(TextClassificationTask, Tables(table, split=split), other, samples / "c")
        assert again == first
        assert origin.sources["test"] == f"{len(first.test)} rows of {table}, as in {split}"
    before, after = (json.loads((samples / name / "split.json").read_text()) for name in ("a", "c"))
    assert before["rows"] == after["rows"]
    assert (before["seed"], after["seed"]) == (3, None)


def test_a_test_table_may_stand_beside_a_split(samples: Path) -> None:
    table = samples / "reviews.csv"
    first, _ = read_data(TextClassificationTask, Tables(table, test=table), FinetuneConfig(), samples / "a")
    tables = Tables(table, test=table, split=samples / "a")
    again, _ = read_data(TextClassificationTask, tables, FinetuneConfig(seed=9), samples / "b")
    assert again == first


@given(st.sets(st.integers(1, 1000), min_size=1, max_size=30), st.integers(0, 1000))
def test_every_row_goes_where_the_split_says(numbers: set[int], seed: int) -> None:
    rows = [TableRow({}, Path("a.csv"), number) for number in sorted(numbers)]
    split: dict[str, list[int]] = {"train": [], "valid": [], "test": []}
    for number in numbers:
        split[random.Random(seed + number).choice([*split])].append(number)
    parts = part_as(split, Path("split.json"), rows)
    assert {name: [rows[place].number for place in places] for name, places in parts.items()} == split


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not json", ["not a split", '{"rows": {"train": ', '"test": [...]}}, as']),
        ('{"rows": [2, 3]}', ["not a split"]),
        ('{"rows": {"train": [2], "dev": [3]}}', ["not a split"]),
        ('{"rows": {"train": [2, "3"]}}', ["not a split"]),
        ('{"rows": {"train": [], "valid": [2]}}', ["not a split"]),
        ('{"rows": {"train": [2, 99]}}', ["reviews.csv has no row 99"]),
        ('{"rows": {"train": [2, 3], "valid": [3]}}', ["row 3 is in train and in valid"]),
        ('{"rows": {"train": [2], "valid": [3]}}', ["reviews.csv:4: the row is in no split"]),
    ],
)
def test_a_wrong_split_is_named(samples: Path, content: str, words: list[str]) -> None:
    (samples / "split.json").write_text(content)
    tables = Tables(samples / "reviews.csv", split=samples / "split.json")
    with expect_refusal("split.json", *words):
        read_data(TextClassificationTask, tables, FinetuneConfig(), samples / "out")
    assert not (samples / "out").exists()


def test_the_command_line_takes_a_split(model: Path, samples: Path, tmp_path: Path, cli: Cli) -> None:
    table, old = samples / "reviews.csv", tmp_path / "old"
    read_data(TextClassificationTask, Tables(table), FinetuneConfig(seed=3), old)
    given = ("--model", model, "--train", table, "--out", tmp_path / "out", "--split")
    given = ("finetune", "text-classification", *given)
    cli.expect_refusal(["absent.json: cannot read the file"], *given, tmp_path / "absent.json")
    cli.expect_refusal([f"{old} has rows of valid, and --validation"], *given, old, "--valid", table)
    done = on_sample("text-classification", model, tmp_path / "out", folder=samples, split=old)
    assert len(done.predictions["test"]) == len(json.loads((old / "split.json").read_text())["rows"]["test"])


def test_a_run_keeps_its_split_when_it_is_resumed_with_other_rows(tmp_path: Path) -> None:
    """They are refused, but only when the split had been written over."""
    rows = {"train": [TableRow({}, tmp_path / "a.csv", number) for number in (2, 3)]}
    write_split(tmp_path, "a.csv", 0, rows)
    write_split(tmp_path, "b.csv", 1, {"train": rows["train"][:1]})  # nothing was trained yet
    before = (tmp_path / "split.json").read_text()
    assert json.loads(before)["file"] == "b.csv"
    checkpoint_path(tmp_path, 1).mkdir(parents=True)
    write_split(tmp_path, "c.csv", 2, rows)
    assert (tmp_path / "split.json").read_text() == before
