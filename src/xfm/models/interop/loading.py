"""A model from a folder, from a published file, or composed of other models' encoders and a fresh fusion
encoder (`xfm init`).

The one place where a reference becomes an encoder with weights, tokenizer and preprocessing:

    roberta-base, FOLDER       native language encoder: RoBERTa, XLM-R, BERT
    hf:NAME, hf:FOLDER         any text encoder of transformers
    beitv2_base_patch16_224,
    FOLDER, FILE.pth           native vision encoder: BEiT, BEiT-2
    timm:NAME, timm:FOLDER     any vision transformer of timm, or convolutional network
    efficientnet-lite0, -lite1, -lite2, all-minilm-l6-v2
                               weights of the packages of those names, without any hub
    fresh                      a vision encoder as the recipe says, that nobody has trained yet
"""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from xfm.config.load import load_recipe
from xfm.config.plain import to_plain
from xfm.config.recipe import Recipe
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError, explained
from xfm.core.paths import home_path
from xfm.models.artifacts import CODE_LICENCE, FRESH, check_vocabulary
from xfm.models.composition import HEADS
from xfm.models.folder import Preprocessing, Pretrained, load_model
from xfm.models.interop import packages
from xfm.models.interop.foreign import read_timm, read_transformers
from xfm.models.interop.native import read_beit, read_bert
from xfm.models.interop.pairs import read_pair
from xfm.models.interop.published.convert import convert
from xfm.models.interop.sources import (
    SETTING_FILES,
    TOKENIZER_FILES,
    EncoderPart,
    fetch_repository,
    read_tokenizer,
)
from xfm.models.resolve import find_model, hub_names
from xfm.models.runtimes.loading import is_exported, open_exported
from xfm.models.self_check import verify
from xfm.models.xfm import XFM


def load(
    path: Path | str,
    tokenizer: Path | str | None = None,
    recipe: str = "base",
    task: str | None = None,
    heads: int | None = None,
    image_size: int | None = None,
    image_width: int | None = None,
    check: bool = True,
    base: Path | str | None = None,
) -> Pretrained:
    """Model folder, exported model or published file; arguments as of `xfm.inference.loading.load`."""
    path = find_model(path)
    tokenizer = None if tokenizer is None else home_path(tokenizer)
    own = None if tokenizer is None else read_tokenizer(tokenizer)
    if base is not None and (path.is_file() or is_exported(path)):
        raise UserError(f"{path} is a whole model and stands on no base; leave the base out")
    if path.is_dir():
        exported = is_exported(path)
        found = open_exported(path, check=check) if exported else load_model(path, check=check, base=base)
    else:
        kind = None if task is None else task_spec(task).name
        found, _ = convert(path, load_recipe(recipe).model, kind, heads)
    if image_size is not None:
        found = found.resized(path, image_size, image_width)
    if own is None:
        return found
    check_vocabulary(own, found.model.config.language, Path(tokenizer or path))
    found = replace(found, given_tokenizer=own)
    if check:
        verify(path, found.model, found.artifacts)
    return found


TIMM, TRANSFORMERS, FRESH_VISION = "timm:", "hf:", "fresh"
# timm's names of BEiTs without a tag stand for the weights that timm takes then.
_DEFAULT_TAGS = {
    "beit_base_patch16_224": "in22k_ft_in22k_in1k",
    "beit_large_patch16_224": "in22k_ft_in22k_in1k",
    "beitv2_base_patch16_224": "in1k_ft_in22k_in1k",
    "beitv2_large_patch16_224": "in1k_ft_in22k_in1k",
}


def read_vision(reference: str) -> EncoderPart:
    """Vision encoder of a reference: `timm:NAME`, or a BEiT by file, folder, timm name or hub name."""
    if reference in packages.VISION_PACKAGES:
        return packages.read_packaged_vision(reference)
    if reference.startswith(TIMM):
        return read_timm(reference.removeprefix(TIMM), reference)
    name = reference if Path(reference).exists() else beit_repository(reference)
    return read_beit(fetch_repository(name, SETTING_FILES), reference)


def beit_repository(name: str) -> str:
    """The hub's repository of timm's BEiT name, with or without tag; other names unchanged."""
    if "/" in name or not name.startswith("beit"):
        return name
    return f"timm/{name}.{_DEFAULT_TAGS[name]}" if name in _DEFAULT_TAGS else f"timm/{name}"


def read_language(reference: str) -> EncoderPart:
    """Language encoder of a reference: `hf:NAME` for any of transformers, or a RoBERTa, XLM-R or BERT by
    folder or hub name."""
    if reference in packages.LANGUAGE_PACKAGES:
        return packages.read_packaged_language(reference)
    if reference.startswith(TRANSFORMERS):
        return read_transformers(reference.removeprefix(TRANSFORMERS), reference)
    return read_bert(fetch_repository(reference, [*SETTING_FILES, *TOKENIZER_FILES]), reference)


def compose(language: str, vision: str, recipe: Recipe) -> Pretrained:
    """A model of pre-trained encoders, otherwise fresh as the recipe says (`vision` "fresh": a fresh vision
    encoder); its provenance names sources and fresh parameters. A UserError where parts cannot be read or do
    not fit. Where both lie in packages, the names of ImageNet's classes align them (`align_by_classes`)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        words = read_language(language)
        eyes = None if vision == FRESH_VISION else read_vision(vision)
        classes = () if eyes is None or language not in packages.LANGUAGE_PACKAGES else eyes.classes
        failing = f"{language}, {vision} and recipe {recipe.name} do not fit together"
        with explained(failing, "choose others", ValueError):
            seen = recipe.model.vision
            if eyes is not None:
                seen = replace(eyes.encoder.config, drop_path=getattr(seen, "drop_path", 0.0))
            config = replace(recipe.model, vision=seen, language=words.encoder.config)
            if classes:
                config = replace(config, projection=config.language.width)
        model = XFM(config)
    if eyes is not None:
        model.vision.load_state_dict(eyes.encoder.state_dict())
    model.language.load_state_dict(words.encoder.state_dict())
    if words.head:
        model.language_head.load_state_dict(words.head)
    if classes and words.tokenizer is not None:
        packages.align_by_classes(model.eval(), words.tokenizer, classes)
    if config.fusion.frozen_words:
        model.init_fusion_embeddings_from_language()
    parts = {"language": words} if eyes is None else {"language": words, "vision": eyes}
    taken = (["language_head."] if words.head else []) + (["vision_proj.", "text_proj."] if classes else [])
    provenance = _composed(parts, taken, model, recipe)
    shown = (eyes and eyes.preprocessing) or Preprocessing(config.vision.image_size)
    return Pretrained(words.tokenizer, shown, provenance, model=model.eval())


def compose_pair(reference: str, recipe: Recipe) -> Pretrained:
    """A model of an aligned pair, with its projections and temperature, and a fresh fusion encoder as the
    recipe says, whose heads follow the text's width. A UserError where it cannot be read."""
    pair = read_pair(reference)
    seen, said = pair.vision.encoder, pair.language.encoder
    fusion = recipe.model.fusion
    if said.config.width % fusion.heads:  # then heads are 64 wide
        fusion = replace(fusion, heads=max(1, said.config.width // 64))
    weight, _ = pair.text_proj
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        config = replace(
            recipe.model,
            vision=seen.config,
            language=said.config,
            fusion=fusion,
            projection=len(weight),
            logit_bias=pair.bias is not None,
        )
        model = XFM(config)
    model.vision.load_state_dict(seen.state_dict())
    model.language.load_state_dict(said.state_dict())
    with torch.no_grad():
        for layer, given in ((model.vision_proj, pair.vision_proj), (model.text_proj, pair.text_proj)):
            layer.weight.copy_(given[0])
            layer.bias.copy_(given[1])
        model.temperature.fill_(pair.temperature)
        if model.logit_bias is not None and pair.bias is not None:
            model.logit_bias.fill_(pair.bias)
    parts = {"language": pair.language, "vision": pair.vision}
    aligned = ["vision_proj.", "text_proj.", "temperature", "logit_bias"]
    provenance = _composed(parts, aligned, model, recipe)
    assert pair.vision.preprocessing is not None
    return Pretrained(pair.language.tokenizer, pair.vision.preprocessing, provenance, model=model.eval())


def _composed(parts: dict[str, EncoderPart], taken: list[str], model: XFM, recipe: Recipe) -> dict[str, Any]:
    heads = [head for head in HEADS if any(name.startswith(head) for name in model.state_dict())]
    fresh = ["fusion.", *(head for head in heads if head not in taken)]
    fresh += [f"vision.{name}" for name in parts["vision"].fresh] if "vision" in parts else ["vision."]
    sources = {name: part.source for name, part in parts.items()}
    licences = {source.get("licence") for source in sources.values()}
    weights = licences.pop() if len(licences) == 1 else None
    read = (str(source.get("reference")).removeprefix(TRANSFORMERS) for source in sources.values())
    return {
        "composed": {**sources, "recipe": recipe.name},
        "base_model": hub_names(*read),
        "licences": {"code": CODE_LICENCE, "weights": weights, "data": None},
        "ignored": {name: part.ignored for name, part in parts.items()},
        FRESH: fresh,
        "seed": recipe.training.seed,
        "versions": {"xfm": version("xfm"), "torch": torch.__version__},
        "settings": to_plain(model.config),
    }
