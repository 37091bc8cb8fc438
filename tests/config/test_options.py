"""Every field of every configuration has an option with a type and a text."""

import re
from dataclasses import field, make_dataclass

import pytest

from tests.refusals import expect_refusal
from xfm.config.data import CorpusConfig
from xfm.config.evaluation import EvaluationConfig, Part
from xfm.config.options import add_fields, new_parser, parse, parse_options
from xfm.config.recipe import Recipe
from xfm.config.world import WorldConfig
from xfm.core.errors import UserError

KINDS = [Recipe, WorldConfig, EvaluationConfig]


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_the_dataclass(kind):
    assert parse(kind) == kind()


@pytest.mark.parametrize("written", ["[vqa, retrieval]", "vqa,retrieval", "vqa, retrieval"])
def test_lists_of_enums_need_no_brackets(written):
    assert parse(EvaluationConfig, [f"--parts={written}"]).parts == [Part.VQA, Part.RETRIEVAL]
    assert parse(EvaluationConfig, ["--parts", "vqa"]).parts == [Part.VQA]
    with expect_refusal("'vqaa' is none of retrieval"):
        parse(EvaluationConfig, ["--parts", "[vqaa]"])


def test_hyphens_and_bare_switches():
    config = parse(EvaluationConfig, ["--validation", "--batch-size", "3", "--vqa.test-rows=7"])
    assert (config.validation, config.batch_size, config.vqa.test_rows) == (True, 3, 7)
    assert not parse(EvaluationConfig, ["--validation", "false", "--seed", "1"]).validation
    assert parse(EvaluationConfig, ["--seed", "1", "--validation=true"]).validation


@pytest.mark.parametrize("value", ["{path: a, weight: 2}", "[{path: a, weight: 2}]"])
def test_corpora_on_the_command_line(value):
    corpora = parse(Recipe, ["--data.pair.corpora", value]).data.pair.corpora
    assert corpora == [CorpusConfig("a", 2.0)]


CORPORA = "--data.pair.corpora"


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ([CORPORA, "own.tar"], "", "give a list in quotes such as '[{path: PATH}]', not own.tar"),
        ([CORPORA, "[os.path]"], "", "give a list in quotes such as '[{path: PATH}]', not [os.path]"),
        ([CORPORA, "[{path: a, wieght: 2}]"], "", "data.pair.corpora.0.wieght; did you mean weight?"),
        ([CORPORA, "[{path: a, order: rns}]"], "", "data.pair.corpora.0.order: 'rns' is none of random"),
        ([CORPORA, "[{class_path: os.path}]"], "", "unknown field data.pair.corpora.0.class_path"),
        ([], "own.tar", "own.tar"),
        ([], "[own.tar]", "own.tar"),
    ],
)
def test_corpora_that_are_none_are_named(options, environment, words, monkeypatch):
    """Without a word of the parser's own trials, such as to import a class of that name."""
    if environment:
        monkeypatch.setenv("XFM_PRETRAIN_DATA__PAIR__CORPORA", environment)
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        parse(Recipe, options, env_prefix="XFM_PRETRAIN")
    assert "data.pair.corpora" in str(caught.value)
    assert not re.search("import|No module|Problem with|<class", str(caught.value))


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_text_for_readers(kind):
    parser = new_parser()
    add_fields(parser, kind)
    assert not [action.dest for action in parser._actions if not action.help]
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


def test_a_value_that_nobody_could_write_is_refused() -> None:
    """Of a few letters YAML makes lists of lists; only options that take such are read as YAML."""
    laughs = ", ".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(12))
    laughs = f"{{{laughs}}}"
    with expect_refusal("data.pair.corpora", "too large or too deep"):
        parse(Recipe, ["--data.pair.corpora", laughs])
    with expect_refusal("vqa.test_rows is '{a0", "give a whole number"):
        parse(EvaluationConfig, ["--vqa.test-rows", laughs])
    with expect_refusal("file: vqa.test_rows is '{a0", "give a whole number"):
        parse(EvaluationConfig, values={"vqa": {"test_rows": laughs}}, source="file")


def test_values_are_checked_by_themselves() -> None:
    """What else a command needs may stand on its line."""
    parser = new_parser()
    parser.add_argument("--model", required=True)
    add_fields(parser, EvaluationConfig, values={"seed": 3}, source="file")
    assert parse_options(parser, ["--model", "m"]).seed == 3
