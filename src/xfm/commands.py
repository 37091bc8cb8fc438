"""`xfm pretrain` and `xfm evaluate`: their options, and what they check and say around the work.

Nothing heavy is imported before a command runs.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from xfm.config.evaluation import EvaluationConfig
    from xfm.config.recipe import Recipe


def pretrain_parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm pretrain`; their defaults are the values of the recipe that the options name."""
    from xfm.config.load import RECIPE_ENV, read_recipe, recipe_names
    from xfm.config.options import add_fields, new_parser
    from xfm.config.recipe import Recipe

    recipe = _chosen_recipe(options)
    parser = new_parser(
        RECIPE_ENV,
        prog="xfm pretrain",
        usage="xfm pretrain [--recipe NAME] [--out FOLDER] [--resume] [--FIELD VALUE ...]",
        description="Pre-train a recipe: text, pictures, pairs and regions in, one model out. The run\n"
        "folder holds the resolved config.yaml, log.jsonl, tensorboard/, checkpoints/ and the\n"
        f"finished model/. The values below are those of the recipe {recipe}.",
        epilog="examples:\n"
        "  xfm pretrain --recipe nano\n"
        "  xfm pretrain --recipe small --out runs/mine --root /data/emoji --training.optim.lr 3e-4\n"
        "  xfm pretrain --out runs/mine --resume\n"
        "  torchrun --nproc-per-node 8 -m xfm.cli pretrain --recipe base\n"
        f"  {RECIPE_ENV}_TRAINING__STEPS=100 xfm pretrain      any option from the environment",
    )
    known = ", ".join(recipe_names())
    parser.add_argument("--recipe", type=str, default=recipe, help=f"one of {known}, or a YAML file")
    parser.add_argument("--out", type=str, default=None, help="run folder; runs/NAME if not given")
    parser.add_argument("--resume", action="store_true", help="continue the run in the out folder exactly")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--compile", action="store_true", help="run the encoders through torch.compile (for GPUs)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    add_fields(parser, Recipe, values=read_recipe(recipe), source=f"recipe {recipe}")
    return parser


def _chosen_recipe(options: Sequence[str]) -> str:
    """The recipe that the options name; to resume, the configuration that the run's folder keeps."""
    from xfm.config.load import RECIPE_ENV, read_recipe
    from xfm.paths import home_path

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--recipe", nargs="?", default=os.environ.get(f"{RECIPE_ENV}_RECIPE"))
    place = os.environ.get(f"{RECIPE_ENV}_OUT", os.environ.get(f"{RECIPE_ENV}_FOLDER"))
    first.add_argument("--out", "--folder", nargs="?", default=place)
    first.add_argument("--resume", action="store_true")
    known = first.parse_known_args(options)[0]
    recipe = known.recipe or "nano"
    if not known.resume:
        return recipe
    folder = home_path(known.out or Path("runs") / read_recipe(recipe).get("name", "custom"))
    kept = folder / "config.yaml"
    return str(kept) if kept.is_file() else recipe


def pretrain(chosen: "Namespace") -> None:
    """Pre-train what the options say, or resume."""
    from xfm.config.next_command import command_line
    from xfm.config.options import assemble
    from xfm.config.recipe import Recipe

    recipe = assemble(Recipe, chosen)
    folder = Path(chosen.out or Path("runs") / recipe.name)
    first = os.environ.get("RANK", "0") == "0"
    for sentence in _notes(recipe, chosen) if first else ():
        print(f"Note: {sentence}.", flush=True)
    from xfm.training.pretrain import pretrain as run

    model = run(
        recipe,
        folder,
        resume=chosen.resume,
        progress=not chosen.quiet,
        device=chosen.device,
        compiled=chosen.compile,
    )
    if first:
        has_tasks = (Path(recipe.root) / "tasks").is_dir()
        line = command_line("evaluate", model, world=recipe.root)
        hint = f"; evaluate it with `{line}`" if has_tasks else ""
        print(f"The model is in {model}{hint}.")


def _notes(recipe: "Recipe", chosen: "Namespace") -> list[str]:
    """What to know before a run: options that do not hold in every phase, a recipe that is not read."""
    from xfm.config.load import read_recipe
    from xfm.config.options import parse

    options = ["--recipe", chosen.recipe, *(["--out", chosen.out] if chosen.out else [])]
    source = _chosen_recipe([*options, "--resume"] if chosen.resume else options)
    notes = recipe.overruled(parse(type(recipe), values=read_recipe(source), source=f"recipe {source}"))
    if source != chosen.recipe:
        notes.append(f"the run goes on with its own {source}; --recipe {chosen.recipe} is not read")
    return notes


def evaluate_parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm evaluate`."""
    from xfm.config.evaluation import EvaluationConfig
    from xfm.config.options import add_fields, new_parser

    parser = new_parser(
        words=["model"],
        prog="xfm evaluate",
        usage="xfm evaluate MODEL [--world FOLDER] [--out FOLDER] [--FIELD VALUE ...]",
        description="Evaluate a pre-trained model on a world, every number beside chance and a baseline of\n"
        "one modality: retrieval, probes, masked tokens, questions, reasoning, grounding. Writes\n"
        "metrics.json and report.html.",
        epilog="examples:\n"
        "  xfm evaluate runs/quickstart/model --world worlds/emoji\n"
        "  xfm evaluate runs/quickstart/model --parts retrieval,vqa --scale 0.2\n"
        "  XFM_EVALUATE_SCALE=0.2 xfm evaluate runs/quickstart/model      any option from the environment",
    )
    parser.add_argument("--model", type=str, required=True, help="folder of a model, or of a finished run")
    parser.add_argument("--world", type=str, default="worlds/emoji", help="folder that `xfm prepare` wrote")
    parser.add_argument(
        "--out",
        type=str,
        default=None,
        help="folder for the results; if not given, the run's, or one below it such as evaluation-validation "
        "for another split or scale",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    add_fields(parser, EvaluationConfig)
    return parser


def evaluate(chosen: "Namespace") -> None:
    """Evaluate a model, show the headlines and say where the report is."""
    from xfm.config.evaluation import EvaluationConfig
    from xfm.config.options import assemble
    from xfm.files import model_folder

    model, config = model_folder(chosen.model), assemble(EvaluationConfig, chosen)
    out = Path(chosen.out or _results_folder(model, config))
    from xfm.evaluation.report import REPORT
    from xfm.evaluation.run import evaluate as run
    from xfm.evaluation.stored import METRICS
    from xfm.evaluation.summary import summary

    scores = run(model, Path(chosen.world), out, config, progress=not chosen.quiet)
    print(f"{summary(scores)}\nReport:  {out / REPORT}\nScores:  {out / METRICS}")


def _results_folder(model: Path, config: "EvaluationConfig") -> Path:
    """Where results go by default: only the full evaluation on the tests beside the model."""
    run, other = model.parent, []
    if run.name == "checkpoints":  # one of several, whose results would replace one another
        run, other = run.parent, [model.name]
    other += ["validation"] if config.validation else []
    other += [] if config.scale == 1 else [f"scale-{config.scale:g}"]
    return run / "-".join(["evaluation", *other]) if other else run
