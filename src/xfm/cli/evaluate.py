"""`xfm evaluate`: its options, and what it checks and says around the work."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfm.cli._options import option, shared
from xfm.config.evaluation import EvaluationConfig
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, new_parser
from xfm.config.plain import to_plain
from xfm.config.probing import FrozenConfig, Method
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.config.tasks import IMAGE_CLASSIFICATION
from xfm.core.errors import UserError, amount, naming

if TYPE_CHECKING:
    from xfm.data.skipped import SkippedRecords
    from xfm.tasks.rows import Labelled

_WORLD, _TUNED = "an evaluation on a world", "--test of rows of a task"
_UNTUNED = "--test of labelled pictures, without --task"
_TABLE = {"test", "columns", "pictures", "out", "max_bad", "seed", "precision", "device"}
_FROZEN = {*to_plain(FrozenConfig()), "train", "validation_rows", "names"}
_ONLY: Mapping[str, set[str]] = {
    _WORLD: {*to_plain(EvaluationConfig()), "world", "out"},
    _TUNED: {*_TABLE, "task", "box_format", "box_unit", "label_separator"},
    _UNTUNED: {*_TABLE, *_FROZEN},
}
"""The options that each use of the command has."""


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        words=["model"],
        usage="xfm evaluate MODEL [--world FOLDER] [--out FOLDER] [--FIELD VALUE ...]\n"
        "       xfm evaluate MODEL --test FILE [--task TASK] [--columns FIELD=COLUMN,...] [--out FOLDER]\n"
        "       xfm evaluate MODEL --test DATA [--train DATA] [--methods linear,knn,zero-shot]",
        description="Evaluate a pre-trained model on a world, every number beside chance and a baseline of\n"
        "one modality; writes metrics.json and report.html. With --test\n"
        "- a fine-tuned model is scored on new labelled rows of its task, and a pre-trained one at --task\n"
        "  (retrieval, sentence-similarity, grounding), in predictions.jsonl one by one;\n"
        "- frozen picture features of a pre-trained one are evaluated on labelled pictures: a table, a\n"
        "  folder with a folder a class, or hub:OWNER/NAME; with --train by a linear probe and nearest\n"
        "  neighbours, without by the names of the classes (zero-shot).",
        examples="  xfm evaluate runs/quickstart/model --world worlds/emoji\n"
        "  xfm evaluate runs/reviews/model --test new.csv --columns text=review,label=stars\n"
        "  xfm evaluate runs/quickstart/model --train pets/train --test pets/test --out runs/pets\n"
        "  xfm evaluate runs/quickstart/model --test pets/test --templates pets\n"
        "  XFM_EVALUATE_SCALE=0.2 xfm evaluate runs/quickstart/model      any option from the environment",
    )
    option(parser, "--model", required=True)
    option(parser, "--world", "folder that `xfm prepare` wrote; worlds/emoji if not given")
    option(parser, "--test", "labelled rows that are scored")
    option(parser, "--task", "what a pre-trained model is scored at without fine-tuning, such as retrieval")
    option(parser, "--train", "labelled pictures that are fitted")
    option(parser, "--validation-rows", "labelled pictures that choose the penalty of the linear probe")
    shared(parser, "--columns", "--pictures", "--quiet")
    option(parser, "--box-format", "numbers of a box; xywh if not given", choices=[*map(str, BoxFormat)])
    option(parser, "--box-unit", "the unit of boxes; pixel if not given", choices=[*map(str, BoxUnit)])
    option(parser, "--label-separator", "what stands between the labels of a cell; | if not given")
    option(parser, "--names", "file with LABEL=NAME lines: labels in prompts, and classes without a picture")
    option(parser, "--out", "folder for the results; the run's, or one below it, if not given")
    add_fields(parser, EvaluationConfig)
    add_fields(parser, FrozenConfig, shared=True)
    return parser


def run(chosen: Namespace) -> None:
    from xfm.models.resolve import model_folder

    model = model_folder(chosen.model)
    tuned = (model / "task.json").exists()
    mode = _WORLD if chosen.test is None else _TUNED if tuned or chosen.task else _UNTUNED
    values, defaults = dict(vars(chosen)), dict[str, Any]()
    for kind in (EvaluationConfig, FrozenConfig):
        values |= to_plain(assemble(kind, chosen))
        defaults |= to_plain(kind())
    known = set[str]().union(*_ONLY.values())
    given = {name for name in known if (values[name] or None) != (defaults.get(name) or None)}
    if useless := sorted(given - _ONLY[mode]):
        name = useless[0]
        others = " or ".join(other for other, own in _ONLY.items() if name in own)
        advice = "; give --test, too" if "--test" in others and mode == _WORLD else ""
        raise UserError(f"--{name.replace('_', '-')} belongs to {others}, not to {mode}{advice}")
    if mode == _WORLD and tuned and chosen.world is None:
        raise UserError(
            f"{model} was fine-tuned: score it on labelled rows of its task with --test FILE, or evaluate "
            "what is left of the pre-trained model on the embedded data with --world worlds/emoji"
        )
    {_WORLD: _on_world, _TUNED: _on_rows, _UNTUNED: _on_frozen}[mode](chosen, model)


def _on_world(chosen: Namespace, model: Path) -> None:
    config, world = assemble(EvaluationConfig, chosen), Path(chosen.world or "worlds/emoji")
    out = Path(chosen.out or _results_folder(model, config, world))
    from xfm.evaluation.parts import listing, saved_models, use_command
    from xfm.evaluation.report import REPORT
    from xfm.evaluation.suite import evaluate
    from xfm.reports.page import summary
    from xfm.reports.scores import DETAILS, METRICS, read_object
    from xfm.training.flags import last_lines, read_flags

    scores = evaluate(model, world, out, config, progress=not chosen.quiet)
    print(f"{summary(scores)}\nReport:  {out / REPORT}\nScores:  {out / METRICS}")
    details = read_object(out / DETAILS)
    if said := details.get("left_out", {}).get("says"):
        print(f"Note:    {said}")
    if not (model / "task.json").exists():
        print(f"Use it:  {use_command(model, world, out)}")
    if models := listing(saved_models(out, world, config.validation)):
        print(models)
    print(last_lines(read_flags(details)), end="")


def _results_folder(model: Path, config: EvaluationConfig, world: Path) -> Path:
    """Only a full evaluation on the tests lies beside its model, none beside the package's."""
    from xfm.core.results_folder import run_of
    from xfm.models.resolve import stand_in
    from xfm.reports.scores import DETAILS, read_object

    run, other = stand_in(model) or run_of(model), []
    if (model / "task.json").exists():  # beside it stands what its fine-tuning scored
        other += [world.resolve().name]
    if run_of(model) != model.parent:  # a checkpoint, one of several, whose results would replace one another
        other = [model.name]
    other += ["validation"] if config.validation else []
    other += [] if config.scale == 1 else [f"scale-{config.scale:g}"]
    if config.minutes:
        other += [f"minutes-{config.minutes:g}"]
    elif isinstance(before := read_object(run / DETAILS).get("config"), dict) and before.get("minutes"):
        other += ["whole"]
    return run / "-".join(["evaluation", *other]) if other else run


def _on_rows(chosen: Namespace, model: Path) -> None:
    from xfm.finetuning.rescoring import score
    from xfm.reports.page import table

    used = _ONLY[_TUNED] - {"test", "out", "max_bad"}
    options: dict[str, Any] = {name: value for name in used if (value := getattr(chosen, name))}
    progress = not chosen.quiet
    found = score(model, chosen.test, chosen.out, **options, max_bad=chosen.max_bad, progress=progress)
    print(table(found.scores, list(found.scores)))
    if found.unknown:
        rows, labels = amount(sum(map(len, found.unknown.values())), "row"), [*found.unknown]
        said = (
            f"{rows} of {amount(len(labels), 'label')} such as {labels[0]!r} ({found.unknown[labels[0]][0]})"
        )
        print(f"Unknown to the model, counted as wrong: {said}, see {found.out / 'evaluation.json'}")
    if found.left_out:
        print(f"Note:    {found.left_out}")
    for what, name in (("Report", "report.html"), ("Scores", "metrics.json"), ("Rows", "predictions.jsonl")):
        if (found.out / name).exists():  # a report needs the extra `report`
            print(f"{what + ':':<9}{found.out / name}")
    print(f"Use it:  {found.next_command}")


def _on_frozen(chosen: Namespace, model: Path) -> None:
    if chosen.train is None and chosen.methods == FrozenConfig().methods:
        chosen.methods = [Method.ZERO_SHOT]
    if chosen.train is None and {*chosen.methods} != {Method.ZERO_SHOT}:
        raise UserError("linear and knn learn from labelled pictures: give --train, too")
    config = assemble(FrozenConfig, chosen)
    from xfm.core.results_folder import require_free
    from xfm.data.skipped import BAD_FILE, SkippedRecords
    from xfm.evaluation.probing.prompt_templates import read_names
    from xfm.evaluation.probing.scoring import LabelledSplits, evaluate_frozen, frozen_maker
    from xfm.finetuning.rescoring import default_folder
    from xfm.reports.page import table
    from xfm.reports.scores import METRICS

    out = default_folder(model, chosen.test) if chosen.out is None else Path(chosen.out)
    require_free(out, frozen_maker(model))  # before pictures that a table holds are written there
    left_out = SkippedRecords(chosen.max_bad)
    with naming("without --task the rows are labelled pictures"):
        train, validation, test = (
            None if source is None else _read_labelled(source, out / "pictures", chosen, left_out)
            for source in (chosen.train, chosen.validation_rows, chosen.test)
        )
    names = {} if chosen.names is None else read_names(Path(chosen.names))
    data = LabelledSplits(test or (), train or (), validation, names)
    scores, _ = evaluate_frozen(model, data, out, config, not chosen.quiet, left_out)
    print(f"{table(scores, list(scores))}\nScores:  {out / METRICS}")
    if said := left_out.sentence(out / BAD_FILE):
        print(f"Note:    {said}")


def _read_labelled(
    source: str, store: Path, chosen: Namespace, left_out: "SkippedRecords"
) -> "list[Labelled]":
    """Labelled pictures of a table, a folder or a hub data set; `store` gets those that a table holds."""
    from xfm.data.images import UnreadableImage
    from xfm.data.tables import ColumnMap, read_table
    from xfm.tasks.rows import Labelled

    root = None if chosen.pictures is None else Path(chosen.pictures)
    fields, columns = IMAGE_CLASSIFICATION.fields, ColumnMap.parse(chosen.columns)
    found: list[Labelled] = []
    for row in read_table(source, fields, columns, store, root, left_out):
        try:
            found.append(Labelled(row.path("image"), row.label("label"), row.place))
        except UnreadableImage as error:
            left_out.add(row.place, str(error))
            left_out.total += 1
    return found
