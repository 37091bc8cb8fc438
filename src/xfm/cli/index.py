"""`xfm index`: its options, and what it says around the work."""

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.cli._options import add_max_bad, is_shared, option, shared, sharing_engine
from xfm.config.inference import SharingConfig
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, names_in, new_parser
from xfm.core.errors import UserError, amount
from xfm.core.paths import home_path
from xfm.models.shipped import DEFAULT, model_or_default

if TYPE_CHECKING:
    from xfm.search.index import Index

ACTIONS = {
    "build": "make a collection of pictures, or go on with one that was stopped",
    "add": "take more pictures in",
    "remove": "take pictures out, by --keys or --where",
    "stats": "say how large a collection is, and what its pictures have",
    "compact": "join what was added bit by bit, and build an index of many vectors",
}


def parser(options: Sequence[str]) -> ArgumentParser:
    actions = "\n".join(f"  {name:<8} {meaning}" for name, meaning in ACTIONS.items())
    parser = new_parser(
        words=["action", "out"],
        usage="xfm index ACTION [--out] FOLDER [--images SOURCE,...] [--model MODEL] [--OPTION VALUE ...]",
        description="Collections of pictures for `xfm search`. A source is a folder, a table (as\n"
        "finetune takes it) with a column image, or tar shards; other columns, and the JSON beside a\n"
        "picture of a shard, can be asked for in conditions. What is known is not read again; the same\n"
        f"command goes on where a run was stopped.\n\nactions:\n{actions}",
        examples="  xfm index build --model small --images photos/ --out runs/photos\n"
        "  xfm index build --images shop.jsonl --columns image=file --key sku --out runs/shop\n"
        "  xfm index build --images shop.jsonl --out runs/shop --store postgresql://db/shop\n"
        "  xfm index add runs/photos --images more/\n"
        "  xfm index remove runs/shop --where 'price>100' --where kind=hat,scarf\n"
        "  xfm index stats runs/shop",
    )
    option(parser, "--action", "one of the above", required=True, choices=[*ACTIONS])
    option(parser, "--out", "folder of the collection", required=True)
    parser.add_argument("--images", default="", help="folders, tables or tar shards, with commas")
    option(parser, "--model", f"of a new collection: model folder, run or name; {DEFAULT} if not given")
    option(parser, "--store", "postgresql://HOST/DATABASE in place of LanceDB; a password by PGPASSWORD")
    option(parser, "--table", "in that database; pictures if not given")
    shared(parser, "--columns", "--pictures", "--device", "--quiet")
    option(parser, "--key", "column that names pictures; id where there is one, else file and row do")
    option(parser, "--keep", "columns that conditions can be about, with commas; all if not given")
    option(parser, "--as-text", "columns of CSV that stay texts though they hold numbers, with commas", "")
    option(parser, "--keys", "of remove: names of pictures, with commas", "")
    option(parser, "--where", "of remove: a condition; all must hold", [], type=list[str])
    parser.repeated = frozenset({"where"})  # whose commas are those of values
    add_max_bad(parser, "pictures that cannot be read")
    add_fields(parser, SharingConfig)
    return parser


def run(chosen: Namespace) -> None:
    if chosen.action in ("build", "add") and not chosen.images:
        raise UserError(f"{chosen.action} needs --images: a folder, a table or a tar shard")
    if chosen.action not in ("build", "add") and is_shared(chosen):
        raise UserError(f"{chosen.action} is done by one process: leave out --engine and --processes")
    if chosen.action == "remove" and not (chosen.keys or chosen.where):
        raise UserError("remove needs --keys or --where: it says which pictures go")
    work = {"build": _take, "add": _take, "remove": _remove, "stats": _stats, "compact": _compact}
    work[chosen.action](chosen)


def _opened(chosen: Namespace, make: bool = False, writing: bool = True) -> "AbstractContextManager[Index]":
    from xfm.search.ingest import is_index
    from xfm.search.opening import open_index

    out = home_path(chosen.out)
    model = model_or_default(chosen.model) if make and not is_index(out) else chosen.model
    return open_index(
        out, model, make=make, writing=writing, address=chosen.store, table=chosen.table, device=chosen.device
    )


def _take(chosen: Namespace) -> None:
    from xfm.data.skipped import SkippedRecords
    from xfm.data.tables import ColumnMap
    from xfm.inference.row_units import everywhere
    from xfm.search.filters import require_same
    from xfm.search.ingest import encode_unit, fill, said, tell_bad
    from xfm.search.sources import open_supply

    keep = None if chosen.keep is None else names_in(chosen.keep)
    executor = sharing_engine(chosen, chosen.device) if is_shared(chosen) else None
    placed = Path if executor is None else Path.absolute  # whoever encodes may be in another folder
    root = None if chosen.pictures is None else placed(home_path(chosen.pictures))
    told = ColumnMap.parse(chosen.columns), chosen.key, keep, names_in(chosen.as_text), root
    sources = [open_supply(placed(home_path(one)), *told) for one in names_in(chosen.images)]
    beside = "".join(f" ({one.report})" for one in sources if one.report)
    if not any(source.total is None or source.total for source in sources):
        raise UserError(f"{chosen.images}: there are no pictures{beside}; check the path")
    require_same({}, (source.columns() for source in sources))  # before a new collection is made
    with _opened(chosen, make=chosen.action == "build") as index:
        left_out = SkippedRecords(chosen.max_bad)
        encode = partial(encode_unit, everywhere(chosen.model or index.about.model), chosen.device)
        size = assemble(SharingConfig, chosen).unit_size
        taken = fill(index, sources, left_out, not chosen.quiet, executor, encode, size)
        tell_bad(index.folder, left_out)
        left_out.check_share(chosen.images, taken.offered, taken.bad)
        if chosen.action == "build" or index.store.is_scattered():
            index.store.compact()
        there = amount(len(index), "picture is", "pictures are")
        print(f"{said(taken)}\n{there} in {chosen.out}; search there with `xfm search`.")


def _remove(chosen: Namespace) -> None:
    with _opened(chosen) as index:
        gone = index.remove(names_in(chosen.keys), index.conditions(chosen.where))
        taken = amount(gone, "picture is", "pictures are")
        print(f"{taken} taken out of {chosen.out}, which has {len(index):,}.")


def _stats(chosen: Namespace) -> None:
    with _opened(chosen, writing=False) as index:
        store, counts = index.store.stats(), {state.value: n for state, n in index.journal.counts().items()}
        lost = max(0, counts["stored"] - store.rows)
        told = {
            "pictures": len(index) - lost,
            **counts,
            "stored": counts["stored"] - lost,
            "store": asdict(store),
            "model": index.about.model,
            "width": index.about.width,
            "fields": {name: kind.value for name, kind in index.about.fields.items()},
        }
    json.dump(told, sys.stdout, indent=1)
    print()
    if lost:
        gone = amount(lost, "picture has", "pictures have")
        print(f"Note: {gone} no row any more: `xfm index compact {chosen.out}` forgets them", file=sys.stderr)


def _compact(chosen: Namespace) -> None:
    with _opened(chosen) as index:
        before = index.store.stats()
        index.compact()
        after = index.store.stats()
    parts = amount(before.parts, "part")
    print(f"{before.bytes:,} bytes in {parts} became {after.bytes:,} in {after.parts:,}; {after.search}.")
