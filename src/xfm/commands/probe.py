"""`xfm probe`: linear evaluation of frozen features."""

from collections.abc import Sequence
from pathlib import Path

from xfm.commands._labelled import TABLES, add_table_options, read_labelled_table, require_own_folder, say
from xfm.commands._options import option
from xfm.config.linear import LinearEvaluationConfig
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, new_parser


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm probe`."""
    parser = new_parser(
        words=["model"],
        prog="xfm probe",
        usage="xfm probe MODEL --train DATA --test DATA [--validation DATA] [--FIELD VALUE ...]",
        description="Evaluate a model's frozen picture features: a linear probe whose penalty validation\n"
        "rows choose, the published five-layer head, nearest neighbours. Features are computed once\n"
        "and kept, so that another method or another sweep takes seconds.",
        epilog="examples:\n"
        "  xfm probe runs/quickstart/model --train pets/train --test pets/test\n"
        "  xfm probe runs/quickstart/model --train a.csv --test b.csv --columns image=file,label=species\n"
        "  xfm probe runs/quickstart/model --train pets/train --test pets/test --methods linear,head,knn\n"
        "  XFM_PROBE_SEED=1 xfm probe ...      any option from the environment",
    )
    option(parser, "--model", required=True)
    option(parser, "--train", f"labelled pictures: {TABLES}", required=True)
    option(parser, "--test", "labelled pictures that are scored", required=True)
    option(parser, "--validation", "labelled pictures that choose C")
    add_table_options(parser)
    option(parser, "--out", "folder for the results", "runs/probe")
    option(parser, "--cache")
    option(parser, "--save", "write the linear probe as a model folder, OUT/model", False)
    add_fields(parser, LinearEvaluationConfig)
    return parser


def run(chosen: Namespace) -> None:
    """Evaluate frozen features and show the scores."""
    config, out = assemble(LinearEvaluationConfig, chosen), Path(chosen.out)
    from xfm.data.left_out import LeftOut
    from xfm.frozen.scoring import MODEL, LabelledSplits, evaluate_frozen

    require_own_folder(out, "probe", chosen.model)
    left_out = LeftOut(chosen.max_bad)
    sources = [chosen.train, chosen.test, *([chosen.validation] if chosen.validation else [])]
    tables = [read_labelled_table(source, chosen, left_out) for source in sources]
    data = LabelledSplits(*tables)
    cache = None if chosen.cache is None else Path(chosen.cache)
    model = Path(chosen.model)
    result = evaluate_frozen(model, data, out, config, cache, save=chosen.save, left_out=left_out)
    say(result.scores, out, left_out)
    if chosen.save and result.probe is not None:
        print(f"Model:   {out / MODEL}")
