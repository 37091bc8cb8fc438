"""`finetune.yaml` of a run's folder: everything that it was told, and everything that was decided."""

from dataclasses import replace
from pathlib import Path

from xfm.config.finetune_file import RESOLVED, dump_finetune
from xfm.core.files import write_text
from xfm.data.tables import InMemory
from xfm.finetuning.origin import RowOrigin
from xfm.finetuning.session import Session


def write_resolved(out: Path, run: Session, origin: RowOrigin) -> None:
    """Write what `xfm finetune --config` reads back.

    Args:
        out: folder of the run.
        run: with its fitted configuration.
        origin: where its rows come from; rows in memory have no tables, which the file then lacks.
    """
    tables = origin.tables
    told: dict[str, str | None] = {"task": run.type.spec.name, "model": run.model, "out": str(out)}
    if tables is not None:
        named = {
            "train": tables.train,
            "validation": tables.valid,
            "test": tables.test,
            "split": tables.split,
        }
        lie = {name: one for name, one in named.items() if one is not None and not isinstance(one, InMemory)}
        told |= {name: str(one) for name, one in lie.items()}
        told |= {"columns": origin.columns or None}
        told |= {"pictures": None if tables.pictures is None else str(tables.pictures)}
    config = run.config
    if run.probed:  # what a training would have; another preset is to decide it anew
        config = replace(config, steps=0, batch_size=0, lr=0.0, evaluate_every=0)
    write_text(out / RESOLVED, dump_finetune(told, config, run.type.spec))
