"""What a fine-tuning starts from: the model, what its size means for the plan, and the rows of tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from xfm.config.finetune import FinetuneConfig
from xfm.config.task import TaskConfig
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError
from xfm.core.paths import home_path
from xfm.data.collate import round_up
from xfm.data.skipped import SkippedRecords
from xfm.data.tables import ColumnMap, Table, as_splits
from xfm.data.tokenizer import Tokenizer
from xfm.finetuning.data import RowOrigin, Tables, read_data
from xfm.models.folder import Pretrained
from xfm.models.interop.loading import load
from xfm.models.resolve import model_folder
from xfm.models.shipped import boxed_names
from xfm.tasks.base import Task, TaskSettings
from xfm.tasks.images import Pictures
from xfm.tasks.rows import SplitRows
from xfm.training import distributed
from xfm.training.collectives import in_turn

LONGEST, STEP = 512, 8
"""Texts are cut there unless more is asked for; lengths are multiples of the step."""
T = TypeVar("T")
SAMPLED = 20_000
"""Training rows whose texts are measured."""


def load_base(model: Path | str, image_size: int = 0) -> Pretrained:
    """The model of a folder, a run's folder, or a published file, for pictures of `image_size` (0: its
    own)."""
    path = local_model(model)
    return replace(load(path, image_size=image_size), task=None) if image_size else load(path)


def prepared_base(model: Path | str, config: FinetuneConfig, spec: TaskSpec) -> Pretrained:
    """The model that a fine-tuning starts from, for pictures as the settings say."""
    found = load_base(model, config.image_size)
    spec.check_model(found.model.config, model)
    seen = found.preprocessing.seen_as(config.framing, config.colours)
    seen = replace(seen, grey=config.grey or seen.grey)
    return found if seen == found.preprocessing else replace(found, preprocessing=seen)


def local_model(model: Path | str) -> Path:
    """Folder or file of a model; of a run's folder the model in it."""
    path = model_folder(model)
    if not path.exists():
        packaged = ", ".join(boxed_names())
        raise UserError(
            f"{path} does not exist; give --model the folder of a model, one of the package ({packaged}), or "
            "one of the hub (owner/name)"
        )
    return path


def fitting_length(
    task: type[Task[Any, Any, Any]], rows: Sequence[Any], tokenizer: Tokenizer | None, limit: int
) -> int:
    """Tokens that hold the longest text of the rows, a multiple of `STEP`; `LONGEST` or the limit at most."""
    seen = [task.texts_of(row) for row in rows[:SAMPLED]]
    texts = (
        [" ".join(own) for own in seen if own] if task.spec.paired else [text for own in seen for text in own]
    )
    if not texts or tokenizer is None:
        return min(limit, LONGEST)
    longest = max(len(ids) for ids, _ in tokenizer.encode_lists(texts, LONGEST))
    return min(limit, LONGEST, round_up(longest + 2, STEP))


def task_of(base: Pretrained, path: Path) -> TaskConfig:
    """Task configuration of a fine-tuned model; UserError for others."""
    if base.task is None:
        raise UserError(
            f"{path} was not fine-tuned for a task: do that with `xfm finetune TASK --model {path} ...`, or "
            "evaluate it on the embedded data, with --world in place of --test"
        )
    told = base.task.task
    if told.spec.reads("max_answers") and not told.answers:
        raise UserError(f"{path} has no list of answers to rank; fine-tune it on questions of your own first")
    return told


def restored(
    kind: type[Task[Any, Any, Any]],
    base: Pretrained,
    pictures: Pictures,
    rows: Sequence[Any],
    settings: TaskSettings,
) -> Task[Any, Any, Any]:
    """The task of a fine-tuned model; constant guesses are drawn from `rows` in place of training rows."""
    assert base.task is not None
    told = base.task.task
    labels = told.labels or tuple(str(number) for number in range(told.classes))
    limit = min(base.model.config.language.longest, LONGEST)
    fitting = fitting_length(kind, rows, base.given_tokenizer, limit)
    kept = {"head": told.head, "label_kind": told.label_kind, "threshold": told.threshold}
    settings = replace(settings, max_tokens=told.max_tokens or fitting, **kept)
    data = SplitRows(rows, labels=labels, answers=told.answers)
    task = kind(base, pictures, data, settings)
    task.finish()
    task.module.load_state_dict(base.task.state_dict())
    task.module.task = replace(task.module.task, temperature=told.temperature)
    task.module.eval()
    return task


def first_reads(read: Callable[[], tuple[T, SkippedRecords]], pictures: Pictures) -> tuple[T, SkippedRecords]:
    """Rows that the first process reads, for all, with the decoded pictures."""
    found = distributed.on_first(lambda: (*read(), pictures.looked))
    if distributed.rank():
        pictures.follow(found[2])
    return found[0], found[1]


def finetune_config(given: FinetuneConfig | None) -> FinetuneConfig:
    """The given configuration or defaults; UserError if it is of another type."""
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
    pictures: Path | str | None,
    split: Path | str | None,
) -> Tables:
    """Tables by the arguments of `finetune`."""
    root, parted = (None if place is None else home_path(place) for place in (pictures, split))
    splits = as_splits(train, valid, test)
    named = (splits["train"], splits.get("validation"), splits.get("test"))
    return Tables(*named, ColumnMap.parse(columns), root, parted)


def opened(
    task: str, model: Path | str, tables: Tables, config: FinetuneConfig, out: Path, progress: bool
) -> tuple[SplitRows[Any], RowOrigin]:
    """Rows of tables with their origin and model, in all processes; pictures in cells and the split go to
    `out`."""
    spec, left_out = task_spec(task), SkippedRecords(config.max_bad)
    pretrained = in_turn(lambda: prepared_base(model, config, spec))
    decoded, kind = Pictures(pretrained.preprocessing), spec.task_class(config.regression)
    (data, origin), left_out = first_reads(
        lambda: (read_data(kind, tables, config, out, decoded, left_out, progress), left_out), decoded
    )
    return data, replace(origin, tables=tables, base=(pretrained, decoded), left_out=left_out)
