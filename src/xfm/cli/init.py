"""`xfm init`: options and work. torch is imported when the command runs."""

from collections.abc import Sequence
from pathlib import Path

from xfm.cli._options import option
from xfm.config.load import load_recipe, recipe_names
from xfm.config.next_command import command_line
from xfm.config.options import ArgumentParser, Namespace, new_parser


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        words=["out"],
        prog="xfm init",
        usage="xfm init --language REFERENCE [--vision REFERENCE] [--recipe NAME] OUT",
        description="Compose a model of encoders that others have trained and a fresh fusion encoder, with\n"
        "their tokenizer and preprocessing. Pre-train it with `--init.model OUT`.",
        epilog="examples:\n"
        "  xfm init --language roberta-base --vision beitv2_base_patch16_224 --recipe base models/base\n"
        "  xfm init --language hf:answerdotai/ModernBERT-base --vision timm:vit_base_patch16_dinov3 OUT\n"
        "  xfm pretrain --recipe base --init.model models/base",
    )
    option(parser, "--out", "model folder to write", required=True)
    option(parser, "--language", "RoBERTa, XLM-R or BERT by folder or hub name, or hf:NAME", required=True)
    option(parser, "--vision", "BEiT by folder, file or hub name, timm:NAME, or fresh: the recipe's", "fresh")
    known = ", ".join(recipe_names())
    option(parser, "--recipe", f"whose fusion and fresh vision encoder: {known}, or a YAML file", "base")
    return parser


def run(chosen: Namespace) -> None:
    recipe = load_recipe(chosen.recipe)
    asked = {"command": "init", "language": chosen.language, "vision": chosen.vision, "recipe": chosen.recipe}
    from xfm.core.results_folder import require_new_model
    from xfm.models.folder import save_model
    from xfm.models.interop.loading import compose

    require_new_model(Path(chosen.out), {"asked": asked})
    made = compose(chosen.language, chosen.vision, recipe)
    provenance = made.provenance | {"asked": asked}
    save_model(chosen.out, made.model, made.tokenizer, made.preprocessing, provenance)
    line = command_line("pretrain", **{"recipe": chosen.recipe, "init.model": chosen.out})
    print(f"The model is in {chosen.out}; pre-train it with `{line}`.")
