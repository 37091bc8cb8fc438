"""`xfm.load`: a model from a folder or from a published file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from xfm.config.load import load_recipe
from xfm.config.tasks import task_spec
from xfm.data.tokenizer import Tokenizer
from xfm.errors import UserError
from xfm.interop.published.convert import Choices, Converted, convert
from xfm.interop.published.report import Fate
from xfm.interop.vocabularies import read_tokenizer
from xfm.modeling.belongings import CODE_LICENCE
from xfm.modeling.folder import FRESH, Pretrained, check_vocabulary, load_model
from xfm.paths import home_path


def load(
    path: Path | str,
    *,
    tokenizer: Path | str | None = None,
    recipe: str = "base",
    task: str | None = None,
    heads: int | None = None,
    image_size: int | None = None,
    image_width: int | None = None,
) -> Pretrained:
    """Load a model folder, or a published checkpoint (`.th`, `.pt`) without converting it first.

    Args:
        path: folder or file.
        tokenizer: `tokenizer.json`, or a folder with it or with RoBERTa's `vocab.json` and `merges.txt`; a
            published file has none of its own.
        recipe: gives what a published file does not show, such as dropout.
        task: what a published file was fine-tuned for, where its tensors leave it open.
        heads: attention heads of text and fusion, where neither file nor recipe gives them.
        image_size, image_width: of the pictures that the model is to take, if not the stored size; see
            `load_model`.

    Returns:
        The model in evaluation mode on the CPU, and what belongs to it.

    Raises:
        UserError: missing, damaged or foreign, or something must be said that the file does not say.

    Example:
        >>> load("xfm-base.th", tokenizer="roberta-base/").model.embed_image(pixels)
    """
    path = home_path(path)
    tokenizer = None if tokenizer is None else home_path(tokenizer)
    own = None if tokenizer is None else given_tokenizer(tokenizer)
    if not path.exists():
        raise UserError(
            f"{path} does not exist: name a model folder or a published file; a model of the hub is read by "
            "xfm.XFM.from_pretrained"
        )
    if path.is_dir():
        found = load_model(path, image_size, image_width)
        given = Path(path if tokenizer is None else tokenizer)
    else:
        kind = None if task is None else task_spec(task).name
        result = convert(path, Choices(load_recipe(recipe).model, kind, heads))
        found = Pretrained(result.model, None, result.preprocessing, provenance(result), result.task)
        if image_size is not None:
            found = _resized(found, path, image_size, image_width)
        given = Path(tokenizer or path)
    if own is None:
        return found
    check_vocabulary(own, found.model.config, given)
    return replace(found, given_tokenizer=own)


def _resized(found: Pretrained, path: Path, image_size: int, image_width: int | None) -> Pretrained:
    try:
        found.model.resize(image_size, image_width)
    except ValueError as error:
        raise UserError(f"{path} cannot take pictures of {image_size} pixels: {error}") from error
    shown = replace(found.preprocessing, image_size=image_size, image_width=image_width)
    return replace(found, preprocessing=shown)


def provenance(converted: Converted) -> dict[str, Any]:
    """Where a converted model comes from."""
    report = converted.report
    return {
        "published": Path(report.source).name,
        "layout": report.layout,
        "licences": {"code": CODE_LICENCE, "weights": None, "data": None},  # such a file has none
        FRESH: [
            part if part == "temperature" else f"{part}."
            for part in (line.part for line in report.lines if line.fate is Fate.MISSING)
        ],
    }


def given_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer from `tokenizer.json`, or from a folder with it or with the files that it is built from.

    Raises:
        UserError: neither is there, or a file is damaged.
    """
    return read_tokenizer(path) if path.is_dir() else Tokenizer.load(path)
