"""`xfm ablate`: its options, and what it says around the work."""

import os
from collections.abc import Sequence
from pathlib import Path

from xfm.cli._options import option, shared
from xfm.config.ablation import ABLATIONS, AblationConfig, load_ablation
from xfm.config.load import recipe_names
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, early_word, new_parser
from xfm.config.plain import to_plain


def parser(options: Sequence[str]) -> ArgumentParser:
    named = early_word(options, "file", recipe_names(ABLATIONS))
    file = named or os.environ.get("XFM_ABLATE_FILE") or "method"
    config = load_ablation(file)
    parser = new_parser(
        words=["file"],
        usage="xfm ablate [FILE] [--world FOLDER] [--out FOLDER] [--seeds N] [--only ARM,...]",
        description="Train and score the arms of an ablation with several seeds, compared seed by seed. One\n"
        "run at a time, for hours; the same command goes on where it was stopped. OUT holds results.csv\n"
        f"with a row a run, and ablation.md with the tables. The values below are those of {file}.\n\narms:\n"
        + "\n".join(f"  {one.name:<14} {one.meaning}" for one in config.arms),
        examples="  xfm ablate method --out runs/ablation\n"
        "  xfm ablate method --recipe nano --only no-mim,no-text --seeds 2 --steps 300 --validation\n"
        "  xfm ablate mine.yaml      arms of your own (docs/evidence.md#a-file-of-arms)",
    )
    option(
        parser,
        "--file",
        f"file of arms: one of {', '.join(recipe_names(ABLATIONS))}, or a YAML file",
        "method",
    )
    option(parser, "--world", "folder that `xfm prepare` wrote", "worlds/emoji")
    option(parser, "--out", "folder of the runs and tables; runs/ablation-FILE if not given")
    option(parser, "--steps", "of every run; the recipe's if not given", type=int)
    shared(parser, "--device", "--quiet")
    add_fields(parser, AblationConfig, values=to_plain(config), source=f"recipe {file}")
    return parser


def run(chosen: Namespace) -> None:
    config = assemble(AblationConfig, chosen)
    out = Path(chosen.out or f"runs/ablation-{Path(chosen.file).stem}")
    from xfm.evaluation.ablation import PAGE, RESULTS, ablate

    more = [] if chosen.steps is None else ["--training.steps", str(chosen.steps)]
    ablate(config, out, Path(chosen.world), more, device=chosen.device, progress=not chosen.quiet)
    print(f"Tables:  {out / PAGE}\nRuns:    {out / RESULTS}")
