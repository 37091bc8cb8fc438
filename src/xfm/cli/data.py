"""`xfm data`: the index of shards."""

from collections.abc import Sequence

from xfm.cli._options import option
from xfm.config.options import ArgumentParser, Namespace, new_parser
from xfm.core.errors import UserError, amount
from xfm.core.paths import home_path
from xfm.core.processes import cores


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm data`."""
    parser = new_parser(
        words=["action", "path"],
        usage="xfm data index FOLDER [--workers N]",
        description="Write the index of the tar shards in a folder, by which they open at once.",
        examples="  xfm data index shards/cc3m\n  xfm data index shards/cc3m --workers 16",
    )
    option(parser, "--action", "index")
    option(parser, "--path", "folder of tar shards", required=True)
    option(parser, "--workers", "processes that read shards; one a core if not given", 0)
    option(parser, "--quiet")
    return parser


def run(chosen: Namespace) -> None:
    """Write the index."""
    if chosen.action != "index":
        raise UserError("xfm data has one action, index: xfm data index FOLDER")
    from xfm.data.sources.shard_index import index_folder, open_index

    folder = home_path(chosen.path)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the folder that holds the shards")
    shards = sorted(path for path in folder.iterdir() if path.suffix == ".tar" and path.is_file())
    workers = min(chosen.workers or cores(), len(shards))
    path = index_folder(folder, shards, workers, not chosen.quiet)
    index = open_index(path)
    size = int(index.sizes.sum())
    records, of = amount(index.records, "record"), amount(len(index), "shard")
    print(f"{path} has {records} of {of} with {size:,} bytes.")
