"""A model from a folder or from a published file, as `xfm.load` reads it."""

from dataclasses import replace
from pathlib import Path

from xfm.config.load import load_recipe
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError
from xfm.core.paths import home_path
from xfm.models.folder import Pretrained, load_model
from xfm.models.interop.published.convert import convert
from xfm.models.interop.sources import read_tokenizer
from xfm.models.model_reading import check_vocabulary
from xfm.models.resolve import model_folder
from xfm.models.runtimes.loading import is_exported, open_exported
from xfm.models.self_check import verify
from xfm.models.shipped import boxed_names


def load(
    path: Path | str,
    *,
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
    path = model_folder(path)
    tokenizer = None if tokenizer is None else home_path(tokenizer)
    own = None if tokenizer is None else read_tokenizer(tokenizer)
    if not path.exists():
        raise UserError(
            f"{path} does not exist: name a model folder, a published file, a model of the package "
            f"({', '.join(boxed_names())}), or a repository of the hub (owner/name)"
        )
    if base is not None and (path.is_file() or is_exported(path)):
        raise UserError(f"{path} is a whole model and stands on no base; leave the base out")
    if path.is_dir():
        exported = is_exported(path)
        found = open_exported(path, check=check) if exported else load_model(path, check=check, base=base)
    else:
        kind = None if task is None else task_spec(task).name
        result = convert(path, load_recipe(recipe).model, kind, heads)
        found = Pretrained(None, result.preprocessing, result.provenance, result.task, model=result.model)
    if image_size is not None:
        found = found.resized(path, image_size, image_width)
    if own is None:
        return found
    check_vocabulary(own, found.model.config, Path(tokenizer or path))
    found = replace(found, given_tokenizer=own)
    if check:
        verify(path, found.model, found.artifacts)
    return found
