"""`xfm.finetune`: from tables to a model folder, scores and a report."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xfm.config.finetune import FinetuneConfig
from xfm.config.pipelines import UrlRules
from xfm.config.tasks import task_spec
from xfm.data.addresses import AddressBook
from xfm.data.left_out import LeftOut, read_bad_rows
from xfm.data.tables import ColumnMap, InMemory, Table, as_splits
from xfm.errors import refuse_none
from xfm.finetuning.applicable import check_applicable
from xfm.finetuning.data import Tables, read_data
from xfm.finetuning.from_rows import FinetuneResult, check_folder, finetune_rows
from xfm.finetuning.session import RowOrigin
from xfm.finetuning.start import load_base, local_model
from xfm.finetuning.uploaded import check_upload, upload
from xfm.locks import holds
from xfm.paths import home_path
from xfm.tasks.pictures import Pictures


@holds("out")
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
    refuse_none(task=task, model=model, train=train)
    config, out, model = config or FinetuneConfig(), home_path(out), home_path(model)
    spec = task_spec(task)
    check_applicable(spec, config)
    if push_to_hub is not None:
        check_upload(push_to_hub)
    check_folder(out, resume)  # before anything is written into it
    local_model(model)  # before tables are read, which may take minutes
    splits, mapped = as_splits(train, valid, test), ColumnMap.parse(columns)
    root, parted = (None if place is None else home_path(place) for place in (pictures, split))
    rules = UrlRules.of(allow_urls)
    addresses = AddressBook.of(rules, splits["train"], read_bad_rows(out) if resume else None)
    named = (splits["train"], splits.get("validation"), splits.get("test"))
    tables = Tables(*named, mapped, root, parted, addresses)
    shown = tables.test or tables.valid or tables.train
    pretrained, left_out = load_base(model, config.image_size), LeftOut(config.max_bad)
    decoded = Pictures(pretrained.preprocessing)
    data = read_data(spec.task_class(config.regression), tables, config, out, decoded, left_out, progress)
    origin = RowOrigin(
        data.places,
        data.sources,
        data.row_places,
        table="" if isinstance(shown, InMemory) else str(shown),
        columns=",".join(f"{name}={one}" for name, one in mapped.columns.items()),
        pictures=root,
        hosts="" if rules is None else ",".join(rules.hosts or ["*"]),
        base=(pretrained, decoded),
        left_out=left_out,
    )
    done = finetune_rows(
        spec.name, model, data.rows, config, out, resume=resume, progress=progress, origin=origin
    )
    return done if push_to_hub is None else replace(done, uploaded=upload(done, push_to_hub))
