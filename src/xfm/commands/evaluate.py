"""`xfm evaluate`: its options, and what it checks and says around the work."""

from collections.abc import Sequence
from pathlib import Path

from xfm.commands._options import option
from xfm.config.boxes import BoxFormat, BoxUnit
from xfm.config.evaluation import EvaluationConfig
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, new_parser
from xfm.config.plain import to_plain
from xfm.errors import UserError, amount


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm evaluate`."""
    parser = new_parser(
        words=["model"],
        prog="xfm evaluate",
        usage="xfm evaluate MODEL [--world FOLDER] [--out FOLDER] [--FIELD VALUE ...]\n"
        "       xfm evaluate MODEL --test FILE [--columns FIELD=COLUMN,...] [--out FOLDER]",
        description="Evaluate a pre-trained model on a world, every number beside chance and a baseline of\n"
        "one modality: retrieval, probes, masked tokens, questions, reasoning, grounding. Or, with\n"
        "--test, score a fine-tuned model on new labelled rows of its task. Writes metrics.json and\n"
        "report.html, and with --test predictions.jsonl; the last lines have a command that asks the model.",
        epilog="examples:\n"
        "  xfm evaluate runs/quickstart/model --world worlds/emoji\n"
        "  xfm evaluate runs/quickstart/model --parts retrieval,vqa --scale 0.2\n"
        "  xfm evaluate runs/reviews/model --test new.csv --columns text=review,label=stars\n"
        "  XFM_EVALUATE_SCALE=0.2 xfm evaluate runs/quickstart/model      any option from the environment",
    )
    option(parser, "--model", required=True)
    option(parser, "--world", "folder that `xfm prepare` wrote; worlds/emoji if not given")
    _add_test_options(parser)
    option(
        parser,
        "--out",
        "folder for the results; if not given, the run's, or one below it such as evaluation-validation "
        "for another split or scale, and evaluation-NAME for rows of a table or a model that was fine-tuned",
    )
    option(parser, "--quiet")
    add_fields(parser, EvaluationConfig)
    return parser


def run(chosen: Namespace) -> None:
    """Evaluate a model, show the headlines and say where the report is."""
    from xfm.modeling.named import model_folder

    model, config = model_folder(chosen.model), assemble(EvaluationConfig, chosen)
    if chosen.test is not None:
        _score_rows(chosen, model, config)
        return
    world = Path(chosen.world or "worlds/emoji")
    _check_choices(chosen, model)
    out = Path(chosen.out or _results_folder(model, config, world))
    from xfm.evaluation.kept_models import kept_models, listing, use_command
    from xfm.evaluation.report import REPORT
    from xfm.evaluation.suite import evaluate
    from xfm.reports.stored import METRICS, left_out_sentence, stored_flags
    from xfm.reports.summary import summary
    from xfm.training.flags import last_lines

    scores = evaluate(model, world, out, config, progress=not chosen.quiet)
    print(f"{summary(scores)}\nReport:  {out / REPORT}\nScores:  {out / METRICS}")
    if said := left_out_sentence(out):
        print(f"Note:    {said}")
    if not (model / "task.json").exists():
        print(f"Use it:  {use_command(model, world, out)}")
    if models := listing(kept_models(out, world, config.validation)):
        print(models)
    print(last_lines(stored_flags(out)), end="")


SHOWN = 8
"""Labels that a terminal shows."""

_OF_TEST = ("columns", "pictures", "allow_urls", "box_format", "box_unit", "label_separator")
"""Options that only say how the rows of --test are read."""

_USED_BY_TEST = ("seed", "precision", "device", "max_bad")
"""Settings of an evaluation that hold for rows of a table, too."""


def _add_test_options(parser: ArgumentParser) -> None:
    option(parser, "--test", "table of labelled rows for a fine-tuned model")
    option(parser, "--columns")
    option(parser, "--pictures")
    option(parser, "--allow-urls", type=list[str])
    for name, known, meaning in (
        ("--box-format", BoxFormat, "what the four numbers of a box are; xywh if not given"),
        ("--box-unit", BoxUnit, "the unit of boxes; pixel if not given"),
    ):
        option(parser, name, meaning, choices=[one.value for one in known])
    option(parser, "--label-separator", "what stands between the labels of a cell; | if not given")


def _check_choices(chosen: Namespace, model: Path) -> None:
    given = [name for name in _OF_TEST if getattr(chosen, name)]
    if given:
        raise UserError(
            f"--{given[0].replace('_', '-')} says how the rows of --test are read; give --test, too"
        )
    if chosen.world is None and (model / "task.json").exists():
        raise UserError(
            f"{model} was fine-tuned: score it on labelled rows of its task with --test FILE, or evaluate "
            "what is left of the pre-trained model on the embedded data with --world worlds/emoji"
        )


def _score_rows(chosen: Namespace, model: Path, config: "EvaluationConfig") -> None:
    values, defaults = to_plain(config), to_plain(type(config)())
    useless = [name for name in values if values[name] != defaults[name] and name not in _USED_BY_TEST]
    if useless or chosen.world is not None:
        name = useless[0] if useless else "world"
        raise UserError(f"--{name.replace('_', '-')} belongs to an evaluation on a world, not to --test")
    from xfm.finetuning.rescoring import score
    from xfm.reports.summary import table

    options = {name: value for name in _OF_TEST if (value := getattr(chosen, name))}
    used = {name: getattr(config, name) for name in _USED_BY_TEST}
    found = score(model, chosen.test, chosen.out, **options, **used, progress=not chosen.quiet)
    print(table(found.scores, list(found.scores)))
    if found.unknown:
        count = len(found.unknown)
        rows, labels = amount(sum(map(len, found.unknown.values())), "row"), amount(count, "label")
        print(f"Unknown to the model, counted as wrong: {rows} of {labels}")
        for label, places in list(found.unknown.items())[:SHOWN]:
            print(f"  {label!r}: {len(places)}, first {places[0]}")
        if count > SHOWN:
            print(f"  and {count - SHOWN} more, see {found.out / 'evaluation.json'}")
    if found.left_out:
        print(f"Note:    {found.left_out}")
    for what, name in (("Report", "report.html"), ("Scores", "metrics.json"), ("Rows", "predictions.jsonl")):
        print(f"{what + ':':<9}{found.out / name}")
    print(f"Use it:  {found.next_command}")


def _results_folder(model: Path, config: "EvaluationConfig", world: Path) -> Path:
    """Where results go by default: only the full evaluation on the tests beside the model.

    Beside a model of the package or of the hub nothing is written: a folder in `runs` stands for its run.
    """
    from xfm.modeling.named import stand_in
    from xfm.results_folder import run_of

    run, other = stand_in(model) or run_of(model), []
    if (model / "task.json").exists():  # beside it stands what its fine-tuning scored
        other += [world.resolve().name]
    if run_of(model) != model.parent:  # a checkpoint, one of several, whose results would replace one another
        other = [model.name]
    other += ["validation"] if config.validation else []
    other += [] if config.scale == 1 else [f"scale-{config.scale:g}"]
    other += [f"minutes-{config.minutes:g}"] if config.minutes else _whole(run)
    return run / "-".join(["evaluation", *other]) if other else run


def _whole(run: Path) -> list[str]:
    from xfm.reports.stored import DETAILS, read_object

    config = read_object(run / DETAILS).get("config")
    return ["whole"] if isinstance(config, dict) and config.get("minutes") else []
