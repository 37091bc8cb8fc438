"""`xfm.finetune`: from tables to a model folder, scores and a report."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfm.config.finetune import FinetuneConfig
from xfm.config.pipelines import UrlRules
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError, refuse_none
from xfm.core.paths import home_path
from xfm.core.processes import is_first_process
from xfm.data.addresses import AddressBook
from xfm.data.left_out import LeftOut, read_bad_rows
from xfm.data.tables import ColumnMap, InMemory, Table, as_splits
from xfm.finetuning.applicable import check_applicable
from xfm.finetuning.budget import Budget
from xfm.finetuning.data import OwnData, Tables, read_data
from xfm.finetuning.finished import FinetuneResult
from xfm.finetuning.from_rows import fine_tuned
from xfm.finetuning.origin import RowOrigin
from xfm.finetuning.session import Session, first_reads
from xfm.finetuning.start import local_model, prepared_base
from xfm.finetuning.uploaded import check_upload, upload
from xfm.tasks.pictures import Pictures
from xfm.training import distributed
from xfm.training.collectives import in_turn


def finetune(
    task: str,
    model: Path | str,
    train: Table,
    out: Path | str,
    *,
    valid: Table | None = None,
    test: Table | None = None,
    columns: Mapping[str, str] | str = "",
    pictures: Path | str | None = None,
    allow_urls: bool | Sequence[str] | UrlRules = False,
    split: Path | str | None = None,
    config: FinetuneConfig | None = None,
    resume: bool = False,
    progress: bool = True,
    push_to_hub: str | None = None,
) -> FinetuneResult:
    """Fine-tune a model on tables of one's own.

    Under torchrun all processes call it; they share each batch, and the rows that are scored.

    Args:
        task: such as `text-classification`; `xfm finetune --help` has all.
        model: folder of the model to begin with.
        train: table with the training rows: a file, a folder with a folder of pictures a class, or
            `hub:OWNER/NAME`; or rows in memory: a DataFrame, a data set, a list of dictionaries, a dictionary
            with a list a column. A dictionary of splits (`train`, `validation`, `test`) gives all of them.
        out: folder for the model (`model/`), `metrics.json`, `report.html` and the logs.
        valid: table with the validation rows; a share of the training rows if not given.
        test: table with the test rows; likewise, unless there are validation rows.
        columns: column by field where they differ, `{"question": "q"}` or `"question=q"`; an empty one says
            that the table has none.
        pictures: folder that paths of pictures start from, each table's own if not given.
        allow_urls: hosts from which pictures are fetched that tables name by address (`["*.example.org"]`),
            True for any public host, or the rules for them; what is fetched is kept in the cache.
        split: `split.json` of an earlier run on the same training table, or the run's folder: the rows are in
            the same splits. Without, and without `valid`, a split is drawn by the seed.
        config: steps, rates, what is frozen and so on; what is 0 is fitted to the rows.
        resume: continue the folder's run exactly.
        progress: show bars and looks at the validation rows.
        push_to_hub: repository of the hub (`owner/name`) that the finished model is uploaded to; a new one is
            private.

    Returns:
        The model's folder, the scores, the predictions of the test rows, and the fine-tuned task.

    Raises:
        UserError: something is wrong with tables, columns, rows or model; names the file, row and column. Or
            the hub does not take the finished model, which stays in `out`.
        Interrupted: SIGINT or SIGTERM came; the run is saved.

    Example:
        >>> done = finetune("text-classification", "runs/quickstart/model", "reviews.csv", "runs/reviews")
        >>> done.scores["text-classification/test/accuracy"].value
    """
    refuse_none(task=task, model=model, train=train, out=out)
    config, out, model = finetune_config(config), home_path(out), home_path(model)
    budget = Budget(config.minutes)
    root, parted = (None if place is None else home_path(place) for place in (pictures, split))

    def begin(shows: bool, resume: bool) -> tuple[Session, RowOrigin]:
        spec = task_spec(task)
        in_turn(lambda: check_applicable(spec, config))
        if (repository := push_to_hub) is not None:
            distributed.on_first(lambda: check_upload(repository, config))
        in_turn(lambda: local_model(model))  # before tables are read, which may take minutes
        tables = tables_of(train, valid, test, columns, root, parted, allow_urls, out if resume else None)
        data, origin = opened(task, model, tables, config, out, shows)
        return Session.begin(spec.name, model, data.rows, config, out, shows, origin), origin

    done = fine_tuned(begin, out, config, resume, progress, budget)
    if push_to_hub is None or not is_first_process():
        return done
    return replace(done, uploaded=upload(done, push_to_hub))


def finetune_config(given: FinetuneConfig | None) -> FinetuneConfig:
    """The configuration that a program gave, or the one of defaults.

    Raises:
        UserError: it is something else, such as a dictionary.
    """
    if given is not None and not isinstance(given, FinetuneConfig):
        raise UserError(
            f"config is of type {type(given).__name__}; give a FinetuneConfig (xfm.config.finetune), "
            'such as FinetuneConfig(preset="fast")'
        )
    return given or FinetuneConfig()


def tables_of(
    train: Table,
    valid: Table | None,
    test: Table | None,
    columns: Mapping[str, str] | str,
    pictures: Path | None,
    split: Path | None,
    allow_urls: bool | Sequence[str] | UrlRules = False,
    before: Path | None = None,
) -> Tables:
    """Where rows lie, by what `finetune` was told.

    Args:
        train, valid, test, columns, pictures, split, allow_urls: as of `finetune`.
        before: folder of the run that goes on; addresses that failed there are not asked again.
    """
    splits, rules = as_splits(train, valid, test), UrlRules.of(allow_urls)
    failed = None if before is None else read_bad_rows(before)
    named = (splits["train"], splits.get("validation"), splits.get("test"))
    addresses = AddressBook.of(rules, splits["train"], failed)
    return Tables(*named, ColumnMap.parse(columns), pictures, split, addresses)


def opened(
    task: str, model: Path | str, tables: Tables, config: FinetuneConfig, out: Path, progress: bool
) -> tuple[OwnData[Any], RowOrigin]:
    """The rows of tables, and where they come from, with the model that they are for.

    Of several processes each does it, with the same outcome; the first one looks the pictures through.

    Args:
        task: by name.
        model: folder of the model to begin with.
        tables: where the rows are.
        config: how cells are meant, and rows are parted.
        out: folder that pictures in cells, and the split, are written to.
        progress: show a bar.

    Raises:
        UserError: something is wrong with tables, columns, rows or model; names the file, row and column.
    """
    spec, left_out = task_spec(task), LeftOut(config.max_bad)
    pretrained = in_turn(lambda: prepared_base(model, config, spec))
    decoded, kind = Pictures(pretrained.preprocessing), spec.task_class(config.regression)
    data, left_out = first_reads(
        lambda: (read_data(kind, tables, config, out, decoded, left_out, progress), left_out), decoded
    )
    shown = next(one for one in (tables.test, tables.valid, tables.train) if one is not None)
    return data, RowOrigin(
        data.places,
        data.sources,
        data.row_places,
        table="" if isinstance(shown, InMemory) else str(shown),
        columns=tables.columns.option,
        pictures=tables.pictures,
        hosts="" if tables.addresses is None else tables.addresses.rules.option,
        base=(pretrained, decoded),
        left_out=left_out,
        tables=tables,
        folds=data.folds,
    )
