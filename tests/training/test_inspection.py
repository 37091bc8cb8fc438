"""The page of a recipe's next batches."""

import re

import pytest

from tests.training.corpus import tiny_recipe, write_corpus
from xfm.cli.main import main
from xfm.config.load import dump_recipe
from xfm.data.schema import Batch
from xfm.training.curriculum import open_phase
from xfm.training.inspection import inspect_data


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    return tiny_recipe(write_corpus(tmp_path_factory.mktemp("corpus")))


def origins_of(batch: Batch) -> list[str]:
    return [str(origin) for origin in batch.origins]


def test_every_sample_of_the_batches_is_drawn(varied, tmp_path):
    shown = inspect_data(varied, tmp_path / "look.html", step=3, count=2)
    assert shown == (range(3, 5), 1, (28, 28))
    page = (tmp_path / "look.html").read_text()
    expected = [origins_of(open_phase(varied, 1).batch(step)) for step in (3, 4)]
    assert re.findall(r"<small>([^<]*)</small>", page) == [one for batch in expected for one in batch]
    assert page.count("<image ") == 2 * (2 + 4 + 4)
    assert "<mark>" in page
    assert "stroke='#1f77d0'" in page  # a second row of a region picture
    assert page.count("fill='#888'") == 2 * 6 * (2 + 4)  # masked patches of pictures and pairs
    assert "http" not in page.replace("http-equiv", "")


def test_the_command(varied, tmp_path, capsys):
    (tmp_path / "own.yaml").write_text(dump_recipe(varied))
    out = tmp_path / "pages" / "look.html"
    assert main(["data", "inspect", str(tmp_path / "own.yaml"), "--step", "3", "--out", str(out)]) == 0
    assert "shows 14 of the 14 samples of 1 step, from 3 on" in capsys.readouterr().out
    assert out.exists()
    assert main(["data", "inspect", str(tmp_path / "own.yaml"), "--step=0", "--steps=0"]) == 2
    assert "--steps is 0" in capsys.readouterr().err
    assert main(["data", "inspect", "--step", "3", str(tmp_path / "own.yaml")]) == 2
    assert "there is no place for" in capsys.readouterr().err
