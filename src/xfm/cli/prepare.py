"""`xfm prepare`: corpora as they are published become shards; without one, the embedded world is built."""

from collections.abc import Sequence
from pathlib import Path

from xfm.cli._options import ARRAY, chosen_engine, option, others_have_not, shared
from xfm.config.corpora import CORPORA, CorpusName, PrepareConfig
from xfm.config.next_command import command_line
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, early_word, new_parser
from xfm.config.world import WorldConfig
from xfm.core.errors import UserError, suggest

WORLD = "world"


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm prepare`; the corpus that they begin with decides which there are."""
    corpus = early_word(options, "corpus", ())
    if corpus is None or corpus == WORLD:
        lines = "\n".join(f"  {name:<12} {what}" for name, what in CORPORA.items())
        parser = new_parser(
            words=["corpus"],
            usage="xfm prepare [world] [--out FOLDER] [--FIELD VALUE ...]\n"
            "       xfm prepare CORPUS --from FOLDER --out FOLDER [--OPTION VALUE ...]",
            description="Build the embedded world: scenes composed of emoji with captions, exact boxes and "
            "the\nrows of every task. The same configuration gives the same bytes.\n\n"
            f"Or make shards of a corpus, from the files that it is published in:\n{lines}\n"
            "`xfm prepare CORPUS --help` shows its options.",
            examples="  xfm prepare --out worlds/tiny --scale 0.02\n"
            "  xfm prepare coco --from corpora/coco --out data/coco\n"
            "  XFM_PREPARE_SCENES=8000 xfm prepare        any option from the environment",
        )
        option(parser, "--corpus", "world, or one of the above", WORLD)
        option(parser, "--out", "folder to write the world to", "worlds/emoji")
        option(parser, "--force", "replace a world of other settings", False)
        add_fields(parser, WorldConfig)
        return parser
    if corpus not in (known := [*CorpusName]):
        raise UserError(f"there is no corpus {corpus}; {suggest(corpus, [WORLD, *known])}")
    return _corpus_parser(CorpusName(corpus))


def _corpus_parser(corpus: CorpusName) -> ArgumentParser:
    parser = new_parser(
        words=["corpus"],
        usage=f"xfm prepare {corpus} --from FOLDER --out FOLDER [--OPTION VALUE ...]",
        description=f"Make shards of {corpus}. What is read: {CORPORA[corpus]}.\n"
        "The shards are the same bytes whoever does the work. The same command goes on where it was stopped.",
        examples=f"  xfm prepare {corpus} --from corpora/{corpus} --out data/{corpus} --duplicates exact\n"
        f"  xfm prepare {corpus} --from corpora/{corpus} --out data/{corpus} \\\n"
        '      --array "$SLURM_ARRAY_TASK_ID/16"',
    )
    option(parser, "--corpus", "what it is", required=True)
    option(parser, "--from", "what it is prepared from", required=True)
    option(parser, "--out", "folder of the shards", required=True)
    option(parser, "--array", ARRAY)
    shared(parser, "--columns", "--pictures", "--quiet")
    meaning = "damaged records to leave out at most; if not given, half of them; 0 ends the work at the first"
    option(parser, "--max-bad", meaning, type=int)
    option(parser, "--force", "replace a corpus of other settings, and throw away what was begun", False)
    add_fields(parser, PrepareConfig)
    return parser


def run(chosen: Namespace) -> None:
    if chosen.corpus != WORLD:
        _prepare(chosen)
        return
    from xfm.world import build_world

    build_world(Path(chosen.out), assemble(WorldConfig, chosen), force=chosen.force)
    line = command_line("pretrain", recipe="nano", root=chosen.out)
    print(f"The world is in {chosen.out}; pre-train on it with `{line}`.")


def _prepare(chosen: Namespace) -> None:
    config = assemble(PrepareConfig, chosen)
    engine = chosen_engine(config.engine, config.workers, chosen.array, "force" if chosen.force else None)

    from xfm.core.paths import home_path
    from xfm.corpora.filtering import BAD
    from xfm.corpora.preparation import Preparation
    from xfm.corpora.prepare import prepare

    source, out = (home_path(one).absolute() for one in (getattr(chosen, "from"), chosen.out))
    root = home_path(chosen.pictures).absolute() if chosen.pictures else None
    corpus = CorpusName(chosen.corpus)
    preparation = Preparation(corpus, source, out, config, chosen.columns, root, chosen.max_bad)
    manifest = prepare(preparation, engine, progress=not chosen.quiet, force=chosen.force)
    if manifest is None:
        print(others_have_not(chosen.array))
        return
    print(manifest.summary())
    named = f"; {chosen.out}/damaged.json names the damaged ones" if manifest.left_out.get(BAD) else ""
    print(f"The corpus is in {chosen.out}{named}. Recipes take it as `path: {chosen.out}`.")
