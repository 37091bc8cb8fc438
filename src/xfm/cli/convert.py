"""`xfm convert`: read a published checkpoint."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xfm.cli._options import option
from xfm.config.image import NORMALISATIONS
from xfm.config.load import load_recipe, recipe_names
from xfm.config.options import ArgumentParser, Namespace, new_parser
from xfm.config.tasks import task_specs


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        words=["file", "out"],
        usage="xfm convert FILE OUT [--tokenizer PATH] [--OPTION VALUE ...]",
        description="Turn a published X-FM checkpoint, of pre-training or of any fine-tuning, into a model\n"
        "folder, and print what was used, ignored and missing. The file is read without running\n"
        "anything in it. Sizes are read off its tensors.",
        examples="  xfm convert xfm-base.th models/base --tokenizer roberta-base/\n"
        "  xfm convert sst2.th models/sst2 --tokenizer roberta-base/ --task text-classification\n"
        "  xfm convert imagenet.th models/imagenet --normalisation imagenet",
    )
    option(parser, "--file", "the checkpoint: .th, .pt, or safetensors with its names", required=True)
    option(parser, "--out", "model folder to write", required=True)
    option(parser, "--tokenizer", "tokenizer.json, or a folder with it or one that transformers reads")
    known = ", ".join(recipe_names())
    option(parser, "--recipe", f"for what no tensor shows, such as dropout: {known}, or a YAML file", "base")
    tasks = [spec.name for spec in task_specs(tunable=True)]
    option(parser, "--task", "where the tensors leave it open", choices=tasks)
    option(parser, "--heads", "attention heads of text and fusion, if not the recipe's", type=int)
    pixels = "mean and deviation of the pixels (pre-training used clip)"
    option(parser, "--normalisation", pixels, choices=list(NORMALISATIONS))
    option(parser, "--ignore", "beginnings of names of tensors to leave out, with commas", "")
    return parser


def run(chosen: Namespace) -> None:
    from xfm.core.files import file_digest
    from xfm.core.results_folder import require_new_model
    from xfm.models.artifacts import check_vocabulary
    from xfm.models.folder import save_model
    from xfm.models.interop.published.convert import convert as read
    from xfm.models.interop.sources import read_tokenizer

    file, out = Path(chosen.file), Path(chosen.out)
    tokenizer = None if chosen.tokenizer is None else read_tokenizer(Path(chosen.tokenizer))
    mark = {"sha256": file_digest(file)} if file.is_file() else {}
    require_new_model(out, {"published": file.name, **mark})
    ignore = tuple(filter(None, chosen.ignore.split(",")))
    found, report = read(file, load_recipe(chosen.recipe).model, chosen.task, chosen.heads, ignore)
    check_vocabulary(tokenizer, found.model.config.language, Path(chosen.tokenizer or ""))
    preprocessing = found.preprocessing
    if chosen.normalisation is not None:
        mean, std = NORMALISATIONS[chosen.normalisation]
        preprocessing = replace(preprocessing, mean=mean, std=std)
    origin = found.provenance | mark
    save_model(out, found.model, tokenizer, preprocessing, origin, found.task)
    print(f"{file}: {report}")
    print(f"\nThe model is in {out}" + ("." if tokenizer else ", without a tokenizer (--tokenizer)."))
