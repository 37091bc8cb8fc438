"""`xfm ablate`: its options, and what it says around the work."""

from collections.abc import Sequence
from pathlib import Path

from xfm.cli._options import option, shared
from xfm.config.ablation import VARIANTS, AblationConfig
from xfm.config.load import recipe_names
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, new_parser


def parser(options: Sequence[str]) -> ArgumentParser:
    variants = "\n".join(f"  {one.name:<14} {one.meaning}" for one in VARIANTS.values())
    parser = new_parser(
        words=["recipe"],
        usage="xfm ablate [RECIPE] [--world FOLDER] [--out FOLDER] [--seeds N] [--variants NAME,...]",
        description="Train and score variants of a recipe with several seeds, compared seed by seed. One\n"
        "run at a time, for hours; the same command goes on where it was stopped. OUT holds results.csv\n"
        f"with a row a run, and ablation.md with the tables.\n\nvariants:\n{variants}",
        examples="  xfm ablate ablation --out runs/ablation\n"
        "  xfm ablate nano --variants no-mim,no-text --seeds 2 --steps 300 --validation",
    )
    option(parser, "--recipe", f"one of {', '.join(recipe_names())}, or a YAML file", "ablation")
    option(parser, "--world", "folder that `xfm prepare` wrote", "worlds/emoji")
    option(parser, "--out", "folder of the runs and tables; runs/ablation-RECIPE if not given")
    option(parser, "--steps", "of every run; the recipe's if not given", type=int)
    shared(parser, "--device", "--quiet")
    add_fields(parser, AblationConfig)
    return parser


def run(chosen: Namespace) -> None:
    config = assemble(AblationConfig, chosen)
    out = Path(chosen.out or f"runs/ablation-{Path(chosen.recipe).stem}")
    from xfm.evaluation.ablation import PAGE, RESULTS, ablate

    more = [] if chosen.steps is None else ["--training.steps", str(chosen.steps)]
    ablate(chosen.recipe, out, Path(chosen.world), config, more, chosen.device, not chosen.quiet)
    print(f"Tables:  {out / PAGE}\nRuns:    {out / RESULTS}")
