"""Where the rows of a fine-tuning come from, for messages, for the report, and for the next command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfm.data.left_out import LeftOut
from xfm.finetuning.data import Tables
from xfm.models.folder import Pretrained
from xfm.tasks.pictures import Pictures


@dataclass(frozen=True)
class RowOrigin:
    """Where rows come from.

    Attributes:
        places: file and row that name each picture, for messages.
        sources: what each split was made of, in words, for the report.
        rows: file and row of each typed row, for the report; of equal rows that of the first.
        table, columns, pictures: a table with such rows, what its columns are called and where the paths of
            its pictures start, for the next command.
        hosts: from which pictures were fetched, with commas, for the next command.
        base: the model and its pictures, of which every one was looked through; None loads and looks through.
        left_out: rows that were left out by then.
        tables: where rows of tables lie, for the configuration that the run's folder keeps.
        folds: that were decided, where nobody gave any.
        lazily: without `base`, only the training pictures that fit into memory are decoded before it.
    """

    places: Mapping[Path, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[Any, str] = field(default_factory=dict)
    table: str = ""
    columns: str = ""
    pictures: Path | None = None
    hosts: str = ""
    base: tuple[Pretrained, Pictures] | None = None
    left_out: LeftOut | None = None
    tables: Tables | None = None
    folds: int = 0
    lazily: bool = False

    def place_of(self, row: Any, pictures: Sequence[Path]) -> str:
        """File and row of a typed row, or those that first name its picture; empty where not known."""
        return self.rows.get(row) or next((self.places[one] for one in pictures if one in self.places), "")
