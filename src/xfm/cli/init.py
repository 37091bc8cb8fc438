"""`xfm init`: options and work. torch is imported when the command runs."""

from collections.abc import Sequence
from pathlib import Path

from xfm.cli._options import option
from xfm.config.load import load_recipe, recipe_names
from xfm.config.next_command import command_line
from xfm.config.options import ArgumentParser, Namespace, new_parser
from xfm.core.errors import UserError


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        words=["out"],
        usage="xfm init (--pair REFERENCE | --language REFERENCE [--vision REFERENCE]) [--recipe NAME] OUT",
        description="Compose a model of encoders that others have trained and a fresh fusion encoder, with\n"
        "their tokenizer and preprocessing. Pre-train it with `--init.model OUT`. A pair of encoders that\n"
        "were aligned (CLIP, SigLIP) searches, embeds and classifies at once.",
        examples="  xfm init --language roberta-base --vision beitv2_base_patch16_224 --recipe base "
        "models/base\n"
        "  xfm init --language hf:answerdotai/ModernBERT-base --vision timm:vit_base_patch16_dinov3 OUT\n"
        "  xfm init --pair google/siglip2-base-patch16-224 models/siglip2\n"
        "  xfm pretrain --recipe base --init.model models/base",
    )
    option(parser, "--out", "model folder to write", required=True)
    option(parser, "--pair", "CLIP, SigLIP, SigLIP 2 or a model of open_clip by folder or hub name")
    option(parser, "--language", "RoBERTa, XLM-R or BERT by folder or hub name, or hf:NAME")
    option(parser, "--vision", "BEiT by folder, file or hub name, timm:NAME, or fresh (default)")
    known = ", ".join(recipe_names())
    option(parser, "--recipe", f"whose fusion and fresh vision encoder: {known}, or a YAML file", "base")
    return parser


def run(chosen: Namespace) -> None:
    recipe = load_recipe(chosen.recipe)
    if (chosen.pair is None) == (chosen.language is None):
        raise UserError("give either --pair, or --language and perhaps --vision")
    if chosen.pair is not None and chosen.vision is not None:
        raise UserError(f"{chosen.pair} has a vision encoder of its own; leave --vision out")
    vision = None if chosen.pair else chosen.vision or "fresh"
    asked = {"command": "init", "pair": chosen.pair, "language": chosen.language, "vision": vision}
    asked = {name: value for name, value in asked.items() if value} | {"recipe": chosen.recipe}
    from xfm.core.results_folder import require_new_model
    from xfm.models.folder import save_model
    from xfm.models.interop.loading import compose, compose_pair

    require_new_model(Path(chosen.out), {"asked": asked})
    made = compose_pair(chosen.pair, recipe) if chosen.pair else compose(chosen.language, str(vision), recipe)
    provenance = made.provenance | {"asked": asked}
    save_model(chosen.out, made.model, made.tokenizer, made.preprocessing, provenance)
    line = command_line("pretrain", **{"recipe": chosen.recipe, "init.model": chosen.out})
    print(f"The model is in {chosen.out}; pre-train it with `{line}`.")
    if chosen.pair:
        print(
            "Until then it searches, embeds and classifies by its two encoders alone: the fusion encoder, "
            "which re-ranks and finds boxes, is not trained."
        )
