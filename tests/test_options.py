"""Options of all commands: one thing has one name and one text, spelled in one way, and understood in two."""

import argparse
import re
from collections import defaultdict

import pytest
from PIL import Image

import xfm
from tests.evaluation.tiny import save_tiny_model
from xfm.cli.main import COMMANDS, command_module, parse_command
from xfm.config.evaluation import EvaluationConfig
from xfm.config.options import known_options, respelled

BARE = {name: [] for name in COMMANDS} | {"predict": ["embed"]}
REQUIRED = {
    "finetune": ("vqa", "--train t.csv --out o"),
    "predict": ("embed", "--input i.csv --out o.jsonl"),
    "export": ("", "--out o.th"),
    **dict.fromkeys(("evaluate", "reproduce", "info"), ("", "")),
}
"""The task and what else the commands that take a model need."""
SHARED = {
    "--device": "auto, cpu, cuda, cuda:1, ...",
    "--quiet": "no progress bars",
    "--columns": "what the columns are called: FIELD=COLUMN,..., FIELD= for none",
}
GONE = {"--valid", "--readers", "--folder", "--to", "--output", "--checkpoint", "--num-workers"}


def parsed(line: str):
    return parse_command(line.split())[1]


def parser_of(command: str):
    return command_module(command).parser(BARE[command])


def plain_actions(command: str) -> dict[str, argparse.Action]:
    parser = parser_of(command)
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
            texts[option].add(actions[option].help.rstrip("."))
        if "--model" in actions:
            texts["--model"].add(actions["--model"].help.partition(",")[0])
    for option, text in SHARED.items():
        assert texts[option] == {text.rstrip(".")}, option
    assert all("model" in text for text in texts["--model"])


@pytest.mark.parametrize("command", REQUIRED)
def test_a_model_is_an_option_and_a_word(command):
    task, rest = REQUIRED[command]
    named = parsed(f"{command} {task} {rest} --model m")
    assert named.model == "m"
    if command not in {"reproduce", "info"}:  # words are something else there
        assert parsed(f"{command} {task} m {rest}") == named
        assert parsed(f"{command} {task} {rest} m") == named


def test_words_may_stand_anywhere_and_have_names():
    expected = parsed("finetune vqa --model m --train t --out o")
    for line in (
        "finetune --train t vqa --out o m",
        "finetune --task vqa m --train=t --out o",
        "finetune --out o --model m --train t vqa",
    ):
        assert parsed(line) == expected
    assert parsed("convert --out o a.th").file == "a.th"
    assert parsed("predict --model m embed --input - --out=o").task == "embed"


@pytest.mark.parametrize("dash", ["-", "_"])
def test_dashes_and_underscores_are_alike_in_every_command(dash):
    for command in COMMANDS:
        parser = parser_of(command)
        own = {option for action in parser._actions for option in action.option_strings}
        for option in known_options(parser):
            (found,) = respelled(parser, [f"--{option[2:].replace('-', dash)}=[]"])
            assert found.removesuffix("=[]") in own
    assert parsed(f"predict embed m --input i --out o --batch{dash}size 3").batch_size == 3
    assert parsed(f"prepare --tasks.vqa{dash}train=5").tasks.vqa_train == 5


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("evaluate", "MODEL", "m"),
        ("predict embed m --input i --out o", "BATCH_SIZE", 3),
        ("export m", "OUT", "o.th"),
        ("info", "MODEL", "m"),
    ],
)
def test_every_command_reads_its_environment(line, name, value, monkeypatch):
    monkeypatch.setenv(f"XFM_{line.split()[0].upper()}_{name}", str(value))
    assert getattr(parsed(line), name.lower()) == value


def test_the_home_folder_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    home = str(tmp_path)
    (tmp_path / "r.yaml").write_text(
        "base: nano\nroot: ~/world\ninit: {vision: ~/v}\ndata: {pair: {corpora: [{path: ~/p.tar}]}}\n"
    )
    line = "pretrain --recipe=~/r.yaml --out ~/run --init.language=~/l --data.tokenizer ~/t"
    chosen = parsed(line)
    assert (chosen.root, chosen.out, chosen.data.tokenizer) == (f"{home}/world", f"{home}/run", f"{home}/t")
    assert (chosen.init.vision, chosen.init.language) == (f"{home}/v", f"{home}/l")
    assert chosen.data.pair.corpora[0].path == f"{home}/p.tar"
    monkeypatch.setenv("XFM_FINETUNE_TEST", "~/test.csv")
    chosen = parsed("finetune vqa ~ --train=~/t.csv --out ./~ --pictures ~nobody-x")
    assert (chosen.model, chosen.out, chosen.pictures) == (home, "./~", "~nobody-x")
    assert (chosen.train, chosen.test) == (f"{home}/t.csv", f"{home}/test.csv")
    chosen = parsed("predict captioning m ~/a.jpg --out ~/o.jsonl --keep ~/x")
    assert (chosen.input, chosen.out, chosen.keep) == (f"{home}/a.jpg", f"{home}/o.jsonl", "~/x")
    assert parsed("info ~/a --model ~/b").path == [f"{home}/a"]


def test_python_functions_know_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "model")
    assert xfm.load("~/model").model.config == xfm.load_model("~/model").model.config
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
