"""Every field of every configuration has an option with a type and a text."""

import pytest

from xfm.config.evaluation import EvaluationConfig, Part
from xfm.config.options import add_fields, new_parser, parse
from xfm.config.recipe import Recipe
from xfm.config.world import WorldConfig
from xfm.errors import UserError

KINDS = [Recipe, WorldConfig, EvaluationConfig]


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_documented(kind):
    parser = new_parser()
    add_fields(parser, kind)
    silent = [action.dest for action in parser._actions if not action.help]
    assert not silent


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_the_dataclass(kind):
    assert parse(kind) == kind()


def test_lists_of_enums():
    assert parse(EvaluationConfig, ["--parts", "[vqa, retrieval]"]).parts == [Part.VQA, Part.RETRIEVAL]
    with pytest.raises(UserError, match="'vqaa' is none of retrieval"):
        parse(EvaluationConfig, ["--parts", "[vqaa]"])


def test_environment_has_a_prefix_of_its_own(monkeypatch):
    monkeypatch.setenv("XFM_PREPARE_SCENES", "5")
    assert parse(WorldConfig, env_prefix="XFM_PREPARE").scenes == 5
    assert parse(WorldConfig).scenes == WorldConfig().scenes
