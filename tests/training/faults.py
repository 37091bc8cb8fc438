"""A tiny pre-training on the command line, for tests of faults."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.processes import XFM, Ended
from tests.training.corpus import tiny_recipe
from xfm.config.load import dump_recipe
from xfm.config.training import OptimConfig

OPTIM = OptimConfig(lr=1e-4, warmup=2)
ADVANCE = "from xfm.training.logging import RunLog\nRunLog.advance = lambda self: {}"
"""A fault after the first step."""


def arguments(corpus, folder, *options, steps=100000, workers=1, caption_rows=True, **training):
    """Of `xfm pretrain` on a corpus into `folder`/run; the recipe is written beside."""
    recipe = tiny_recipe(corpus, steps, **{"optim": OPTIM, **training})
    recipe = replace(recipe, data=replace(recipe.data, workers=workers, caption_rows=caption_rows))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(dump_recipe(recipe))
    places = ["--recipe", str(folder / "tiny.yaml"), "--out", str(folder / "run")]
    return ["pretrain", *places, "--quiet", "--device", "cpu", *options]


def command(corpus: Path, folder: Path, *options: str, **settings: object) -> list[str]:
    """`xfm pretrain` with these arguments."""
    return [*XFM, *arguments(corpus, folder, *options, **settings)]  # type: ignore[arg-type]


def with_fault(fault: str, words: list[str]) -> list[str]:
    """`xfm` with some arguments in a process that runs some lines of Python first."""
    code = f"import sys\n{fault}\nfrom xfm.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", code, *words]


def sentence(ended: Ended, status: int = 2) -> str:
    """The one sentence of a run that could not go on; nothing of it is left."""
    assert ended.status == status, ended.err
    assert ended.left == []
    (said,) = ended.said()
    return said


def trains(folder: Path, lines: int = 2) -> bool:
    """Whether the run in `folder`/run has logged some steps."""
    log = folder / "run" / "log.jsonl"
    return log.exists() and len(log.read_text().splitlines()) >= lines


def mounted(place: Path, size: str, words: list[str]) -> list[str]:
    """A command that sees a small file system of its own at a place."""
    script = f'mount -t tmpfs -o size={size} tmpfs "{place}" && exec "$@"'
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *words]


def blemished(corpus: Path, bad: int = 3, regionless: int = 5) -> Path:
    """Spoil some pictures of a corpus, and rename the field "regions" of others."""
    shard = corpus / "scenes-00000.tar"
    data = shard.read_bytes().replace(b"PNG", b"XXX", bad)
    beginning, *others = data.split(b'"regions"')
    fields = [b'"regions"'] * (len(others) - regionless) + [b'"notions"'] * regionless
    shard.write_bytes(beginning + b"".join(map(b"".join, zip(fields, others, strict=True))))
    return corpus


def unaccounted(samples: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Of each stream, how many samples were read of which nothing is known."""
    return {
        name: counts["read"] - sum(number for what, number in counts.items() if what != "read")
        for name, counts in samples.items()
    }
