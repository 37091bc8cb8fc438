"""`xfm.finetune`: from tables to a model folder, scores and a report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfm.config.finetune import FinetuneConfig
from xfm.config.tasks import task_spec
from xfm.data.left_out import LeftOut
from xfm.data.tables import ColumnMap
from xfm.errors import refuse_none
from xfm.finetuning.applicable import check_applicable
from xfm.finetuning.budget import Budget
from xfm.finetuning.data import OwnData, Tables, read_data
from xfm.finetuning.from_rows import FinetuneResult, check_folder, finetune_rows
from xfm.finetuning.session import RowOrigin
from xfm.finetuning.start import load_base, local_model
from xfm.locks import holds
from xfm.paths import home_path
from xfm.tasks.pictures import Pictures


@holds("out")
def finetune(
    task: str,
    model: Path | str,
    train: Path | str,
    out: Path | str,
    *,
    valid: Path | str | None = None,
    test: Path | str | None = None,
    columns: Mapping[str, str] | str = "",
    pictures: Path | str | None = None,
    split: Path | str | None = None,
    config: FinetuneConfig | None = None,
    resume: bool = False,
    progress: bool = True,
) -> FinetuneResult:
    """Fine-tune a model on tables of one's own.

    Args:
        task: such as `text-classification`; `xfm finetune --help` has all.
        model: folder of the model to begin with.
        train: table with the training rows: `.csv`, `.tsv`, `.jsonl`, `.parquet`, a folder with a folder of
            pictures a class, or `hub:OWNER/NAME`.
        out: folder for the model (`model/`), `metrics.json`, `report.html` and the logs.
        valid: table with the validation rows; a share of the training rows if not given.
        test: table with the test rows; likewise, unless there are validation rows.
        columns: column by field where they differ, `{"question": "q"}` or `"question=q"`; an empty one says
            that the table has none.
        pictures: folder that paths of pictures start from, each table's own if not given.
        split: `split.json` of an earlier run on the same training table, or the run's folder: the rows are in
            the same splits. Without, and without `valid`, a split is drawn by the seed.
        config: steps, rates, what is frozen and so on; what is 0 is fitted to the rows.
        resume: continue the folder's run exactly.
        progress: show bars and looks at the validation rows.

    Returns:
        The model's folder, the scores, the predictions of the test rows, and the fine-tuned task.

    Raises:
        UserError: something is wrong with tables, columns, rows or model; names the file, row and column.
        Interrupted: SIGINT or SIGTERM came; the run is saved.

    Example:
        >>> done = finetune("text-classification", "runs/quickstart/model", "reviews.csv", "runs/reviews")
        >>> done.scores["text-classification/test/accuracy"].value
    """
    refuse_none(task=task, model=model, train=train)
    budget, config, out = (
        Budget((config or FinetuneConfig()).minutes),
        config or FinetuneConfig(),
        home_path(out),
    )
    check_applicable(task_spec(task), config)
    check_folder(out, resume)  # before anything is written into it
    local_model(model)  # before tables are read, which may take minutes
    mapped = ColumnMap.parse(columns)
    root, parted = (None if place is None else home_path(place) for place in (pictures, split))
    tables = Tables(train, valid, test, mapped, root, parted)
    data, origin = opened(task, model, tables, config, out, progress)
    return finetune_rows(
        task_spec(task).name,
        home_path(model),
        data.rows,
        config,
        out,
        resume=resume,
        progress=progress,
        origin=origin,
        budget=budget,
    )


def opened(
    task: str, model: Path | str, tables: Tables, config: FinetuneConfig, out: Path, progress: bool
) -> tuple[OwnData[Any], RowOrigin]:
    """The rows of tables, and where they come from, with the model that they are for.

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
    pretrained, left_out = load_base(home_path(model), config.image_size), LeftOut(config.max_bad)
    decoded = Pictures(pretrained.preprocessing)
    kind = task_spec(task).task_class(config.regression)
    data = read_data(kind, tables, config, out, decoded, left_out, progress)
    return data, RowOrigin(
        data.places,
        data.sources,
        data.row_places,
        table=str(next(one for one in (tables.test, tables.valid, tables.train) if one is not None)),
        columns=",".join(f"{name}={one}" for name, one in tables.columns.columns.items()),
        pictures=tables.pictures,
        base=(pretrained, decoded),
        left_out=left_out,
        tables=tables,
        folds=data.folds,
    )
