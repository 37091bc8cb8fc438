"""Resolution of model names: a path, a run, a packaged model, a repository of the hub. Nothing heavy is
imported."""

import functools
import re
from pathlib import Path

from xfm.core.errors import UserError, first_line
from xfm.core.paths import home_path
from xfm.models.shipped import HOME, boxed_model, boxed_names

FROM_THE_HUB = ("*.safetensors", "*.json", "*.txt")
"""What is downloaded, whatever else a repository holds: no code, no pickles."""
LOG_IN = "run `hf auth login`, or put a token into HF_TOKEN"
_HUB_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)


def model_folder(reference: Path | str, revision: str | None = None) -> Path:
    """The model folder of a path, a finished run, a packaged model or a hub repository
    (`owner/name@revision`, downloaded once); an unknown path as it is. A UserError for an unfinished run
    or an unreadable repository."""
    path = home_path(reference)
    if not path.exists() and not path.is_symlink():
        # "./small" is a path whatever the package holds, "small" may be a name
        if (boxed := boxed_model(reference)) is not None:
            return boxed
        named = _HUB_NAME.fullmatch(str(reference))
        return _downloaded(named[1], named[2] or revision) if named else path
    if (path / "config.json").exists():
        return path
    if (path / "model").is_dir():
        return path / "model"
    if (path / "config.yaml").is_file():
        raise UserError(f"{path} is not finished: the command that began it goes on, with --resume")
    return boxed_model(reference) or path  # a folder of pictures that is called photos is no model


def packaged(reference: Path | str) -> Path | None:
    """Folder of the packaged model that `model_folder` takes a reference for; None for other models."""
    boxed = boxed_model(reference)
    return boxed if boxed is not None and model_folder(reference) == boxed else None


def find_model(reference: Path | str, revision: str | None = None) -> Path:
    """`model_folder` of a model that must exist, else a UserError."""
    place = model_folder(reference, revision)
    if not place.exists():  # `read_model` says so of a file
        raise UserError(
            f"{reference} does not exist: name a model folder or file, a model of the package "
            f"({', '.join(boxed_names())}), or a repository of the hub (owner/name)"
        )
    return place


def stand_in(folder: Path) -> Path | None:
    """Run folder in place of a packaged or cached model, beside which no command writes; None for others."""
    if folder.resolve().is_relative_to(HOME):
        return Path("runs") / f"boxed-{folder.name}"
    repository = folder.parent.parent.name
    cached = folder.parent.name == "snapshots" and repository.startswith("models--")
    return Path("runs") / f"hub-{repository.removeprefix('models--')}" if cached else None


# ---------------------------------------------------------------- the hub
def hub_names(*references: Path | str | None) -> list[str]:
    """`owner/name` of those references that are repositories of the hub: no path here has the name."""
    found = [_HUB_NAME.fullmatch(str(one)) for one in references if one and not home_path(one).exists()]
    return list(dict.fromkeys(match[1] for match in found if match))


@functools.cache  # a command names its model several times, and asks the hub once
def _downloaded(name: str, revision: str | None = None) -> Path:
    from huggingface_hub import errors, snapshot_download

    asked = name if revision is None else f"{name}@{revision}"
    kept, left = [*FROM_THE_HUB], ["*/*"]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=kept, ignore_patterns=left))
    except Exception as error:  # what its HTTP client raises has no base that all versions share
        unreached = errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | ConnectionError
        why = f"it cannot be read from the hub ({first_line(error)}); check the path or the name"
        if isinstance(error, errors.GatedRepoError):
            why = f"the repository of the hub is gated: ask for access on its page, then {LOG_IN}"
        elif isinstance(error, errors.RevisionNotFoundError):
            why = "the repository of the hub has no such revision; check what stands after @"
        elif isinstance(error, errors.RepositoryNotFoundError):
            why = f"the hub has no such repository, or a private one; check the name, or {LOG_IN}"
        elif isinstance(error, unreached):
            why = "the hub cannot be reached, nor is it in the hub's cache; check name and connection"
        raise UserError(f"{asked} is no model folder here, and {why}") from error
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{asked} is no model folder here, and the repository of the hub holds no model of xfm (it has "
            "no config.json); name another"
        )
    return folder
