"""Every field of every configuration has an option with a type and a text."""

import re
from dataclasses import field, make_dataclass

import pytest

from xfm.config.data import CorpusConfig
from xfm.config.evaluation import EvaluationConfig, Part
from xfm.config.help import tidy_help
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


@pytest.mark.parametrize(
    "options",
    [["--parts", "vqa,retrieval"], ["--parts=vqa, retrieval"], ["--parts", "[vqa, retrieval]"]],
)
def test_lists_need_no_brackets(options):
    assert parse(EvaluationConfig, options).parts == [Part.VQA, Part.RETRIEVAL]
    assert parse(EvaluationConfig, ["--parts", "vqa"]).parts == [Part.VQA]


def test_hyphens_and_bare_switches():
    config = parse(EvaluationConfig, ["--validation", "--batch-size", "3", "--vqa.test-rows=7"])
    assert (config.validation, config.batch_size, config.vqa.test_rows) == (True, 3, 7)
    assert not parse(EvaluationConfig, ["--validation", "false", "--seed", "1"]).validation
    assert parse(EvaluationConfig, ["--seed", "1", "--validation=true"]).validation


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("own.tar", r"--data.pair.corpora: give a list in quotes such as '\[{path: PATH}\]', not own.tar"),
        ("[os.path]", r"give a list in quotes such as '\[{path: PATH}\]', not \[os.path\]"),
        ("[{path: a, wieght: 2}]", r"unknown field data.pair.corpora.0.wieght; did you mean weight\?"),
        ("[{class_path: os.path}]", r"unknown field data.pair.corpora.0.class_path"),
        ("{path: a, weight: 2}", None),
        ("[{path: a, weight: 2}]", None),
    ],
)
def test_corpora_on_the_command_line(value, message):
    options = ["--data.pair.corpora", value]
    if message is None:
        assert parse(Recipe, options).data.pair.corpora == [CorpusConfig("a", 2.0)]
        return
    with pytest.raises(UserError, match=message) as caught:
        parse(Recipe, options)
    assert not re.search("import|No module|Problem with|<class", str(caught.value))


@pytest.mark.parametrize("value", ["own.tar", "[own.tar]"])
def test_corpora_in_the_environment(value, monkeypatch):
    monkeypatch.setenv("XFM_PRETRAIN_DATA__PAIR__CORPORA", value)
    with pytest.raises(UserError, match=r"data.pair.corpora: give .* not '?own.tar") as caught:
        parse(Recipe, env_prefix="XFM_PRETRAIN")
    assert not re.search("import|No module|Problem with|<class", str(caught.value))


@pytest.mark.parametrize("kind", KINDS)
def test_help_is_for_readers(kind):
    parser = new_parser()
    add_fields(parser, kind)
    tidy_help(parser)
    shown = parser.format_help()
    for noise in ("CONFIG", "required", "print_shtab", "type:", ".help", "+", "Config`", "null", "init_args"):
        assert noise not in shown, noise
    headings = re.findall(r"^(\S.*):$", shown, re.MULTILINE)
    assert len(set(headings)) == len(headings)


def test_environment_has_a_prefix_of_its_own(monkeypatch):
    monkeypatch.setenv("XFM_PREPARE_SCENES", "5")
    assert parse(WorldConfig, env_prefix="XFM_PREPARE").scenes == 5
    assert parse(WorldConfig).scenes == WorldConfig().scenes


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("cat, big dog", ["cat", "big dog"]),
        ("yes,no", ["yes", "no"]),  # no truth values
        ("1,2", ["1", "2"]),
        ("[cat, dog]", ["cat", "dog"]),
        ("[yes, no]", ["yes", "no"]),
        ("'a, b', c", ["a, b", "c"]),
        ("a: b, c", ["a: b", "c"]),
        ("a photo, not a drawing, of {}", ["a photo, not a drawing, of {}"]),
        ('["a {}", "the, {}"]', ["a {}", "the, {}"]),
        ("it's, a dog's", ["it's", "a dog's"]),
    ],
)
def test_lists_of_texts_are_texts(written: str, meant: list[str]) -> None:
    kind = make_dataclass("Named", [("names", list[str], field(default_factory=list))])
    assert parse(kind, ["--names", written]).names == meant
