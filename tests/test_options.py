"""Options of all commands: one thing has one name and one text, spelled in one way, and understood in two."""

import argparse
import re
from collections import defaultdict

import pytest
from PIL import Image

import xfm
from tests.evaluation.tiny import save_tiny_model
from xfm.cli import COMMANDS, main, parse_command
from xfm.config.evaluation import EvaluationConfig
from xfm.config.help import tidy_help
from xfm.config.options import check_fields, known_options
from xfm.config.spelling import ALSO, PATHS, respell
from xfm.config.tasks import task_names

BARE = {name: [] for name in COMMANDS} | {"predict": ["embed"], "completion": []}
REQUIRED = {
    "finetune": ["vqa", "--train", "t.csv", "--out", "o"],
    "predict": ["embed", "--input", "i.csv", "--out", "o.jsonl"],
    "probe": ["--train", "t", "--test", "u"],
    "zero-shot": ["--test", "u"],
    "export": ["--out", "o.th"],
    "evaluate": [],
    "easy-vqa": [],
    "reproduce": [],
    "info": [],
}
SHARED = {
    "--device": "auto, cpu, cuda, cuda:1, ...",
    "--quiet": "no progress bars",
    "--columns": "what the columns are called: FIELD=COLUMN,...",
    "--cache": "folder of the cached features; OUT/features if not given",
}
GONE = {"--valid", "--readers", "--folder", "--output", "--checkpoint", "--data-folder", "--num-workers"}


def parser_of(command: str):
    return COMMANDS[command].parser(BARE[command])


def plain_actions(command: str) -> dict[str, argparse.Action]:
    """The options of a command by name, those of nested fields left out."""
    parser = parser_of(command)
    tidy_help(parser)
    return {
        option: action
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and "." not in option and action.help != argparse.SUPPRESS
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_suggestions_show_dashes(command):
    parser = parser_of(command)
    assert not [option for option in known_options(parser) if "_" in option]
    tidy_help(parser)
    shown = parser.format_help()
    assert not [word for word in shown.split() if word.startswith("--") and "_" in word.partition("=")[0]]
    for word in parser.words:
        assert f"\n  {word.upper()}, --{word} " in shown


def test_one_thing_has_one_name_and_one_text():
    texts = defaultdict(set)
    for command in COMMANDS:
        actions = plain_actions(command)
        assert not GONE & actions.keys(), command
        for option in SHARED.keys() & actions.keys():
            texts[option].add(
                actions[option].help.removesuffix(".") + "." * actions[option].help.endswith("...")
            )
        if "--model" in actions and command != "easy-vqa":
            texts["--model"].add(actions["--model"].help.partition(",")[0])
    for option, text in SHARED.items():
        assert {one.rstrip(".") for one in texts[option]} == {text.rstrip(".")}, option
    assert all("model" in text for text in texts["--model"])


@pytest.mark.parametrize("command", [name for name in COMMANDS if name in REQUIRED])
def test_a_model_is_an_option_and_a_word(command):
    rest = REQUIRED[command]
    named = parse_command([command, *rest, "--model", "m"])[1]
    assert named.model == "m"
    if command in {"reproduce", "info"}:  # words are something else there
        return
    words = rest[:1] if rest and not rest[0].startswith("-") else []
    word = parse_command([command, *words, "m", *rest[len(words) :]])[1]
    assert word == named
    late = parse_command([command, *rest, "m"])[1]
    assert late == named


def test_words_may_stand_anywhere_and_have_names():
    expected = parse_command(["finetune", "vqa", "--model", "m", "--train", "t", "--out", "o"])[1]
    for line in (
        "finetune --train t vqa --out o m",
        "finetune --task vqa m --train=t --out o",
        "finetune --out o --model m --train t vqa",
    ):
        assert parse_command(line.split())[1] == expected
    assert parse_command(["convert", "--out", "o", "a.th"])[1].file == "a.th"
    assert parse_command(["predict", "--model", "m", "embed", "--input", "-", "--out=o"])[1].task == "embed"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("finetune vqa m n --train t --out o", "there is no place for 'n' here"),
        ("evaluate m --model n", "there is no place for 'm' here"),
        ("finetune vqa --train t --out o", "required: model; for example: xfm finetune"),
        ("finetune vqa m --train --out o", "--train: expected one argument"),
        ("prepare --scens 3", "unknown option --scens; did you mean --scenes"),
        ("prepare --shard-siz 3", "unknown option --shard-siz; did you mean --shard-size"),
        ("predict embed --readers 2", "unknown option --readers; did you mean"),
        ("info", "say what to describe; for example: xfm info runs/quickstart/model"),
    ],
)
def test_words_without_a_place(line, message, capsys):
    assert main(line.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("dash", ["-", "_"])
def test_dashes_and_underscores_are_alike_in_every_command(dash):
    for command in COMMANDS:
        parser = parser_of(command)
        own = {option for action in parser._actions for option in action.option_strings}
        for option in known_options(parser):
            (found,) = respell(parser, [f"--{option[2:].replace('-', dash)}=[]"], check_fields)
            assert found.removesuffix("=[]") in own
    line = ["predict", "embed", "m", "--input", "i", "--out", "o", f"--batch{dash}size", "3"]
    assert parse_command(line)[1].batch_size == 3
    assert parse_command(["prepare", f"--tasks.vqa{dash}train=5"])[1].tasks.vqa_train == 5


@pytest.mark.parametrize("task", task_names())
def test_options_of_a_task(task):
    parser = COMMANDS["predict"].parser([task])
    assert not GONE & set(known_options(parser))


def test_other_names_are_understood(monkeypatch):
    line = ["finetune", "vqa", "m", "--train", "t", "--out", "o"]
    expected = parse_command([*line, "--validation", "v"])[1]
    assert parse_command([*line, "--valid", "v"])[1] == expected
    assert parse_command(["prepare", "--folder", "w"])[1].out == "w"
    assert parse_command(["pretrain", "--folder", "w"])[1].out == "w"
    assert set(ALSO.values()) == {"validation", "out"}
    monkeypatch.setenv("XFM_FINETUNE_VALID", "v")
    assert parse_command(line)[1] == expected
    assert parse_command([*line, "--validation", "w"])[1].validation == "w"


@pytest.mark.parametrize(
    ("command", "name", "value"),
    [
        ("evaluate", "MODEL", "m"),
        ("predict", "BATCH_SIZE", 3),
        ("export", "OUT", "o.th"),
        ("info", "MODEL", "m"),
    ],
)
def test_every_command_reads_its_environment(command, name, value, monkeypatch):
    monkeypatch.setenv(f"XFM_{command.upper()}_{name}", str(value))
    needed = {"predict": ["embed", "m", "--input", "i", "--out", "o"], "export": ["m"]}.get(command, [])
    assert parse_command([command, *needed])[1][name.lower()] == value


def test_the_home_folder_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    home = str(tmp_path)
    (tmp_path / "r.yaml").write_text(
        "base: nano\nroot: ~/world\ninit: {vision: ~/v}\ndata: {pair: {corpora: [{path: ~/p.tar}]}}\n"
    )
    line = [
        "pretrain",
        "--recipe=~/r.yaml",
        "--out",
        "~/run",
        "--init.language=~/l",
        "--data.tokenizer",
        "~/t",
    ]
    chosen = parse_command(line)[1]
    assert (chosen.root, chosen.out, chosen.data.tokenizer) == (f"{home}/world", f"{home}/run", f"{home}/t")
    assert (chosen.init.vision, chosen.init.language) == (f"{home}/v", f"{home}/l")
    assert chosen.data.pair.corpora[0].path == f"{home}/p.tar"
    monkeypatch.setenv("XFM_FINETUNE_TEST", "~/test.csv")
    chosen = parse_command(
        ["finetune", "vqa", "~", "--train=~/t.csv", "--out", "./~", "--pictures", "~nobody-x"]
    )[1]
    assert (chosen.model, chosen.train, chosen.out, chosen.test) == (
        home,
        f"{home}/t.csv",
        "./~",
        f"{home}/test.csv",
    )
    assert chosen.pictures == "~nobody-x"
    line = ["predict", "captioning", "m", "~/a.jpg", "--out", "~/o.jsonl", "--keep", "~/x"]
    chosen = parse_command(line)[1]
    assert (chosen.input, chosen.out, chosen.keep) == (f"{home}/a.jpg", f"{home}/o.jsonl", "~/x")
    assert parse_command(["info", "~/a", "--model", "~/b"])[1].path == [f"{home}/a"]


def test_every_option_that_is_a_path_is_known_as_one():
    """By what its help says; whoever adds one is told here."""
    for command in COMMANDS:
        for option, action in plain_actions(command).items():
            if re.match(
                r"(folder|file|table|model folder|run folder|labelled pictures)\b", action.help or ""
            ):
                assert option.removeprefix("--") in PATHS, f"{command} {option}"


def test_python_functions_know_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "model")
    assert (
        xfm.load("~/model").model.state_dict().keys() == xfm.load_model("~/model").model.state_dict().keys()
    )
    assert xfm.XFM.from_pretrained("~/model").config == xfm.load("~/model").model.config
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    assert xfm.pipeline("embed", model="~/model")(image="~/a.png").shape
    (tmp_path / "t.csv").write_text("text\n")
    with pytest.raises(xfm.UserError, match=re.escape(str(tmp_path / "t.csv"))):
        xfm.finetune("text-classification", "~/model", "~/t.csv", "~/out")
    assert not (tmp_path / "~").exists()
    (tmp_path / "~").mkdir()
    save_tiny_model(tmp_path / "~" / "model")
    assert xfm.load("./~/model").model.config == xfm.load("~/model").model.config
    with pytest.raises(xfm.UserError, match=re.escape(f"{tmp_path / 'nowhere'} is no world")):
        xfm.evaluate("~/model", "~/nowhere", "~/out", EvaluationConfig())


def test_recipes_may_be_spelled_with_dashes(tmp_path):
    (tmp_path / "r.yaml").write_text(
        "base: nano\ntraining:\n  save-every: 7\ndata: {pair: {batch-size: 3}}\n"
    )
    chosen = parse_command(["pretrain", "--recipe", str(tmp_path / "r.yaml")])[1]
    assert (chosen.training.save_every, chosen.data.pair.batch_size) == (7, 3)
