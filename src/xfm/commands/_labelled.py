"""Labelled pictures of a table: the options of `xfm probe` and `xfm zero-shot` that say where they are."""

from pathlib import Path
from typing import TYPE_CHECKING

from xfm.commands._options import option
from xfm.config.bad_rows import add_max_bad
from xfm.config.options import ArgumentParser, Namespace

if TYPE_CHECKING:
    from xfm.data.left_out import LeftOut
    from xfm.reports.scores import Score
    from xfm.tasks.rows import Labelled

TABLES = "a table (CSV, JSON lines, Parquet, ...), a folder with a folder a class, or hub:OWNER/NAME"


def require_own_folder(out: Path, command: str, model: str) -> None:
    """Refuse a folder of others before the pictures that a table holds are written into it."""
    from xfm.frozen.scoring import frozen_maker
    from xfm.modeling.named import model_folder
    from xfm.results_folder import require_free

    require_free(out, frozen_maker(command, model_folder(model)))


def add_table_options(parser: ArgumentParser) -> None:
    """How the tables are read, and how many rows may be left out."""
    option(parser, "--columns")
    option(parser, "--pictures", "folder that paths in tables start from")
    option(parser, "--allow-urls", type=list[str])
    add_max_bad(parser)


def say(scores: "dict[str, Score]", out: Path, left_out: "LeftOut") -> None:
    """Show the scores, where they are, and what was left out."""
    from xfm.data.left_out import BAD_FILE
    from xfm.reports.stored import METRICS
    from xfm.reports.summary import table

    print(f"{table(scores, list(scores))}\nScores:  {out / METRICS}")
    if said := left_out.sentence(out / BAD_FILE):
        print(f"Note:    {said}")


def read_labelled_table(source: str, chosen: Namespace, left_out: "LeftOut") -> "list[Labelled]":
    """Labelled pictures of a table, a folder or a hub data set.

    Args:
        source: where they are.
        chosen: options with `columns`, `pictures`, `allow_urls` and `out`.
        left_out: told of what a folder holds besides, and of rows whose picture is too large.

    Raises:
        UserError: the source is missing or wrong; names the row.
    """
    from xfm.config.pipelines import UrlRules
    from xfm.config.task_spec import Holds
    from xfm.data.addresses import AddressBook
    from xfm.data.left_out import UnreadablePicture
    from xfm.data.tables import ColumnMap, Field, read_table
    from xfm.tasks.rows import Labelled

    picture = Field("image", "path of the picture, or the picture", Holds.PICTURE)
    fields = (picture, Field("label", "name of the class"))
    root = None if chosen.pictures is None else Path(chosen.pictures)
    store = Path(chosen.out) / "pictures"
    found: list[Labelled] = []
    rules, mapped = UrlRules.of(chosen.allow_urls), ColumnMap.parse(chosen.columns or "")
    addresses = AddressBook.of(rules, source)
    for row in read_table(source, fields, mapped, store, root, left_out, addresses):
        try:
            found.append(Labelled(row.path("image"), row.label("label"), row.place))
        except UnreadablePicture as error:
            left_out.add(row.place, str(error))
            left_out.total += 1
    return found
