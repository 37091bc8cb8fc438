"""`xfm zero-shot`: classification of pictures by the names of their classes."""

from collections.abc import Sequence
from pathlib import Path

from xfm.commands._labelled import TABLES, add_table_options, read_labelled_table, require_own_folder, say
from xfm.commands._options import option
from xfm.config.linear import FeatureConfig
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, new_parser


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm zero-shot`."""
    from xfm.frozen.prompt_templates import template_names

    parser = new_parser(
        words=["model"],
        prog="xfm zero-shot",
        usage="xfm zero-shot MODEL --test DATA [--templates NAME|FILE] [--FIELD VALUE ...]",
        description="Classify pictures by the names of their classes alone: a picture gets the class whose\n"
        "prompts are nearest. The vectors of a class's prompts are averaged.",
        epilog="examples:\n"
        "  xfm zero-shot runs/quickstart/model --test pets/test --templates pets\n"
        "  xfm zero-shot runs/quickstart/model --test test.csv --templates mine.txt --names names.txt",
    )
    option(parser, "--model", required=True)
    option(parser, "--test", f"labelled pictures: {TABLES}", required=True)
    add_table_options(parser)
    option(
        parser,
        "--templates",
        f"one of {', '.join(template_names())}, or a text file with a template a line, {{}} for a name",
        "general",
    )
    option(
        parser,
        "--names",
        "text file with LABEL=NAME lines: what labels are called, and the classes that no picture has",
    )
    option(parser, "--out", "folder for the results", "runs/zero-shot")
    option(parser, "--cache")
    add_fields(parser, FeatureConfig)
    return parser


def run(chosen: Namespace) -> None:
    """Classify pictures without training and show the scores."""
    config, out = assemble(FeatureConfig, chosen), Path(chosen.out)
    from xfm.data.left_out import LeftOut
    from xfm.frozen.prompt_templates import read_names
    from xfm.frozen.zero_shot_scoring import evaluate_zero_shot

    require_own_folder(out, "zero-shot", chosen.model)
    left_out = LeftOut(chosen.max_bad)
    rows = read_labelled_table(chosen.test, chosen, left_out)
    names = {} if chosen.names is None else read_names(Path(chosen.names))
    cache = None if chosen.cache is None else Path(chosen.cache)
    model = Path(chosen.model)
    scores = evaluate_zero_shot(model, rows, chosen.templates, out, config, names, cache, left_out=left_out)
    say(scores, out, left_out)
