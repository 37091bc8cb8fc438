"""`xfm.load`: a model from a folder or from a published file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from xfm.config.load import load_recipe
from xfm.config.task import TaskKind
from xfm.data.tokenizer import MASK_TOKEN, SPECIAL_TOKENS, Tokenizer
from xfm.errors import UserError
from xfm.interop.published.convert import Choices, Converted, convert
from xfm.interop.published.report import Fate
from xfm.modeling.folder import TOKENIZER, Pretrained, check_vocabulary, load_model


def load(
    path: Path | str,
    *,
    tokenizer: Path | str | None = None,
    recipe: str = "base",
    task: str | None = None,
    heads: int | None = None,
) -> Pretrained:
    """Load a model folder, or a published checkpoint (`.th`, `.pt`) without converting it first.

    Args:
        path: folder or file.
        tokenizer: `tokenizer.json`, or a folder with it or with RoBERTa's `vocab.json` and `merges.txt`; a
            published file has none of its own.
        recipe: gives what a published file does not show, such as dropout.
        task: what a published file was fine-tuned for, where its tensors leave it open.
        heads: attention heads of text and fusion, where neither file nor recipe gives them.

    Returns:
        The model in evaluation mode on the CPU, and what belongs to it.

    Raises:
        UserError: missing, damaged or foreign, or something must be said that the file does not say.

    Example:
        >>> load("xfm-base.th", tokenizer="roberta-base/").model.embed_image(pixels)
    """
    path = Path(path)
    own = None if tokenizer is None else read_tokenizer(Path(tokenizer))
    if path.is_dir():
        found = load_model(path)
        given = Path(path if tokenizer is None else tokenizer)
    else:
        kind = None if task is None else _kind(task)
        result = convert(path, Choices(load_recipe(recipe).model, kind, heads))
        found = Pretrained(result.model, None, result.preprocessing, provenance(result), result.task)
        given = Path(tokenizer or path)
    if own is None:
        return found
    check_vocabulary(own, found.model.config, given)
    return replace(found, given_tokenizer=own)


def provenance(converted: Converted) -> dict[str, Any]:
    """Where a converted model comes from."""
    report = converted.report
    return {
        "published": Path(report.source).name,
        "layout": report.layout,
        "initialised": [line.part for line in report.lines if line.fate is Fate.MISSING],
    }


def _kind(task: str) -> TaskKind:
    try:
        return TaskKind(task)
    except ValueError:
        raise UserError(f"unknown task {task}; known: {', '.join(TaskKind)}") from None


def read_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer from `tokenizer.json`, or from a folder with it or with `vocab.json` and `merges.txt`.

    Raises:
        UserError: neither is there, or a file is damaged.
    """
    if not path.is_dir() or (path / TOKENIZER).exists():
        return Tokenizer.load(path / TOKENIZER if path.is_dir() else path)
    vocabulary, merges = path / "vocab.json", path / "merges.txt"
    if not (vocabulary.exists() and merges.exists()):
        raise UserError(
            f"{path} has neither tokenizer.json nor vocab.json and merges.txt; name another folder"
        )
    try:
        backend = Backend(models.BPE.from_file(str(vocabulary), str(merges), unk_token="<unk>"))
    except Exception as error:  # the Rust side raises bare Exception
        raise UserError(f"{path}: vocab.json and merges.txt do not fit ({error}); copy them again") from error
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    backend.add_special_tokens([AddedToken(MASK_TOKEN, lstrip=True, special=True)])
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return Tokenizer(backend, str(path))
