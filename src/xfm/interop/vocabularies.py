"""Tokenizers of other models: `tokenizer.json`, or the older files that it can be built from."""

from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from xfm.data.tokenizer import Tokenizer
from xfm.errors import UserError
from xfm.interop.sources import read_settings
from xfm.modeling.libraries import explained

_SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model's folder, or of a `tokenizer.json`.

    In a folder `tokenizer.json` is taken where there is one; else `vocab.json` with `merges.txt` (RoBERTa) or
    `vocab.txt` (BERT) make the same tokenizer.

    Raises:
        UserError: none of them is there, or they are damaged.
    """
    if not folder.is_dir():
        return Tokenizer.load(folder)
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.load(folder / "tokenizer.json")
    with explained(f"{folder}: the vocabulary cannot be read", "copy it again"):
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return Tokenizer(_byte_level_bpe(folder), str(folder / "vocab.json"))
        if (folder / "vocab.txt").is_file():
            return Tokenizer(_word_piece(folder), str(folder / "vocab.txt"))
    hint = "give a folder that has one"
    if any((folder / name).is_file() for name in _SENTENCEPIECE):
        hint = "write one with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    raise UserError(f"{folder} has no tokenizer.json; {hint}")


def _byte_level_bpe(folder: Path) -> tokenizers.Tokenizer:
    prefix = bool(read_settings(folder / "tokenizer_config.json").get("add_prefix_space", False))
    backend = tokenizers.Tokenizer(
        models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    # It swallows the space in front: in "a <mask> dog" it stands where " red" would.
    backend.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
    last, first = _placed(backend, "</s>"), _placed(backend, "<s>")
    backend.post_processor = processors.RobertaProcessing(
        last, first, trim_offsets=True, add_prefix_space=prefix
    )
    return backend


def _word_piece(folder: Path) -> tokenizers.Tokenizer:
    settings = read_settings(folder / "tokenizer_config.json")
    backend = tokenizers.Tokenizer(models.WordPiece.from_file(str(folder / "vocab.txt"), unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.add_special_tokens(["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"])
    backend.post_processor = processors.BertProcessing(_placed(backend, "[SEP]"), _placed(backend, "[CLS]"))
    return backend


def _placed(backend: tokenizers.Tokenizer, token: str) -> tuple[str, int]:
    index = backend.token_to_id(token)
    assert index is not None
    return token, index
