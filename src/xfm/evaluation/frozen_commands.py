"""`xfm probe` and `xfm zero-shot`: classification of pictures by a model that is not trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.config.bad_rows import add_max_bad
from xfm.errors import UserError
from xfm.files import read_text

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from xfm.data.left_out import LeftOut
    from xfm.evaluation.scores import Score
    from xfm.tasks.rows import Labelled

_TABLES = "a CSV, JSON-lines or Parquet file, a folder with a folder a class, or hub:OWNER/NAME"


def probe_parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm probe`."""
    from xfm.config.linear import LinearEvaluationConfig
    from xfm.config.options import add_fields, new_parser

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
    parser.add_argument("--model", type=str, required=True, help="folder of a model, or of a finished run")
    parser.add_argument("--train", type=str, required=True, help=f"labelled pictures: {_TABLES}")
    parser.add_argument("--test", type=str, required=True, help="labelled pictures that are scored")
    parser.add_argument("--validation", type=str, default=None, help="labelled pictures that choose C")
    _add_table_options(parser)
    parser.add_argument("--out", type=str, default="runs/probe", help="folder for the results")
    parser.add_argument(
        "--cache", type=str, default=None, help="folder of the cached features; OUT/features if not given"
    )
    parser.add_argument(
        "--save", action="store_true", help="write the linear probe as a model folder, OUT/model"
    )
    add_fields(parser, LinearEvaluationConfig)
    return parser


def probe(chosen: "Namespace") -> None:
    """Evaluate frozen features and show the scores."""
    from xfm.config.linear import LinearEvaluationConfig
    from xfm.config.options import assemble

    config, out = assemble(LinearEvaluationConfig, chosen), Path(chosen.out)
    from xfm.data.left_out import BAD_FILE, LeftOut
    from xfm.evaluation.linear.run import METRICS, MODEL, LabelledSplits, evaluate_frozen

    _require_free(out, "probe", chosen.model)
    left_out = LeftOut(chosen.max_bad)
    sources = [chosen.train, chosen.test, *([chosen.validation] if chosen.validation else [])]
    tables = [read_labelled_table(source, chosen, left_out) for source in sources]
    data = LabelledSplits(*tables)
    cache = None if chosen.cache is None else Path(chosen.cache)
    model = Path(chosen.model)
    result = evaluate_frozen(model, data, out, config, cache, save=chosen.save, left_out=left_out)
    print(f"{score_table(result.scores)}\nScores:  {out / METRICS}")
    if said := left_out.sentence(out / BAD_FILE):
        print(f"Note:    {said}")
    if chosen.save and result.probe is not None:
        print(f"Model:   {out / MODEL}")


def zero_shot_parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm zero-shot`."""
    from xfm.config.linear import FeatureConfig
    from xfm.config.options import add_fields, new_parser
    from xfm.evaluation.prompt_templates import template_names

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
    parser.add_argument("--model", type=str, required=True, help="folder of a model, or of a finished run")
    parser.add_argument("--test", type=str, required=True, help=f"labelled pictures: {_TABLES}")
    _add_table_options(parser)
    parser.add_argument(
        "--templates",
        type=str,
        default="general",
        help=f"one of {', '.join(template_names())}, or a text file with a template a line, {{}} for a name",
    )
    parser.add_argument(
        "--names",
        type=str,
        default=None,
        help="text file with LABEL=NAME lines: what labels are called, and the classes that no picture has",
    )
    parser.add_argument("--out", type=str, default="runs/zero-shot", help="folder for the results")
    parser.add_argument(
        "--cache", type=str, default=None, help="folder of the cached features; OUT/features if not given"
    )
    add_fields(parser, FeatureConfig)
    return parser


def zero_shot(chosen: "Namespace") -> None:
    """Classify pictures without training and show the scores."""
    from xfm.config.linear import FeatureConfig
    from xfm.config.options import assemble

    config, out = assemble(FeatureConfig, chosen), Path(chosen.out)
    from xfm.data.left_out import BAD_FILE, LeftOut
    from xfm.evaluation.linear.run import METRICS
    from xfm.evaluation.zero_shot_run import evaluate_zero_shot

    _require_free(out, "zero-shot", chosen.model)
    left_out = LeftOut(chosen.max_bad)
    rows = read_labelled_table(chosen.test, chosen, left_out)
    names = {} if chosen.names is None else read_names(Path(chosen.names))
    cache = None if chosen.cache is None else Path(chosen.cache)
    model = Path(chosen.model)
    scores = evaluate_zero_shot(model, rows, chosen.templates, out, config, names, cache, left_out=left_out)
    print(f"{score_table(scores)}\nScores:  {out / METRICS}")
    if said := left_out.sentence(out / BAD_FILE):
        print(f"Note:    {said}")


def _require_free(out: Path, command: str, model: str) -> None:
    """Refuse a folder of others before the pictures that a table holds are written into it."""
    from xfm.evaluation.linear.run import frozen_maker
    from xfm.files import model_folder
    from xfm.results_folder import require_free

    require_free(out, frozen_maker(command, model_folder(model)))


def _add_table_options(parser: "ArgumentParser") -> None:
    parser.add_argument(
        "--columns", type=str, default=None, help="what the columns are called: FIELD=COLUMN,..."
    )
    parser.add_argument("--pictures", type=str, default=None, help="folder that paths in tables start from")
    add_max_bad(parser)


def read_labelled_table(source: str, chosen: "Namespace", left_out: "LeftOut") -> "list[Labelled]":
    """Labelled pictures of a table, a folder or a hub data set.

    Args:
        source: where they are.
        chosen: options with `columns`, `pictures` and `out`.
        left_out: told of what a folder holds besides, and of rows whose picture is too large.

    Raises:
        UserError: the source is missing or wrong; names the row.
    """
    from xfm.data.left_out import UnreadablePicture
    from xfm.data.tables import ColumnMap, Field, read_table
    from xfm.tasks.rows import Labelled

    fields = (Field("image", "path of the picture, or the picture"), Field("label", "name of the class"))
    root = None if chosen.pictures is None else Path(chosen.pictures)
    store = Path(chosen.out) / "pictures"
    found: list[Labelled] = []
    for row in read_table(source, fields, ColumnMap.parse(chosen.columns or ""), store, root, left_out):
        try:
            found.append(Labelled(row.path("image"), row.label("label"), row.place))
        except UnreadablePicture as error:
            left_out.add(row.place, str(error))
            left_out.total += 1
    return found


def read_names(path: Path) -> dict[str, str]:
    """What labels are called in prompts, from lines LABEL=NAME.

    Raises:
        UserError: the file cannot be read, or a line is none.
    """
    try:
        lines = read_text(path, encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the names ({error}); check the file") from error
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        label, equals, name = (part.strip() for part in line.partition("="))
        if line.strip() and not (equals and label and name):
            raise UserError(f"{path}:{number}: not a line LABEL=NAME; mend it")
        if line.strip():
            names[label] = name
    return names


def score_table(scores: "dict[str, Score]") -> str:
    """Scores as lines for a terminal."""
    width = max(len(key) for key in scores)
    lines = [f"{'':<{width}}  {'score':>7}  {'chance':>7}  {'n':>6}"]
    for key, score in scores.items():
        lines.append(f"{key:<{width}}  {score.value:>7.2%}  {score.chance:>7.2%}  {score.n:>6}")
    return "\n".join(lines)
