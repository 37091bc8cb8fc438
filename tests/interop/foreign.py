"""Small models of other libraries with random weights, and vocabularies, as those libraries write them."""

import json
import random
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn

# Letters of many scripts, signs, digits, emoji (some of several code points), combining marks, odd spaces.
SCRIPTS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "éèüößñçåøłžőİıæ",
    "αβγδεζηθλμπρσςωΩΔ",
    "абвгдежзийклмнопЖЯЩё",
    "אבגדהוזחטםןץ",
    "ابتثجحخدذرزسشعغفقكلمنهوي",
    "अआइकखगचजटतदनपबमयरलवशसहािीु्",
    "กขคงจชดตนบปมยรลวสหอะาิีู่้",
    "你好世界中文漢字學習机器",
    "ひらがなカタカナー",
    "한국어문장조선",
    "ԱԲԳաբգ",
    "აბგდე",
    "አማርኛ",
    "0123456789\u0660\u0661\u0662½²",
    ".,;:!?'\"()[]{}<>/\\|@#$%^&*-_=+~`«»“”…\u2013—",
    "😀👩‍🚀🏳️‍🌈👍🏽❤️",
    "\u0301\u0308\u200d\u00ad\ufeff",
]
SPACES = [" ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u2009", ""]


def texts(count: int, seed: int = 0) -> list[str]:
    """Strings of words in many scripts, mixed within some words."""
    rng = random.Random(seed)

    def word() -> str:
        letters = rng.choice(SCRIPTS) if rng.random() < 0.8 else "".join(SCRIPTS)
        return "".join(rng.choice(letters) for _ in range(rng.randint(1, 8)))

    return ["".join(word() + rng.choice(SPACES) for _ in range(rng.randint(0, 12))) for _ in range(count)]


def write_byte_level(folder: Path) -> Path:
    """`vocab.json` and `merges.txt` of a RoBERTa."""
    folder.mkdir(parents=True, exist_ok=True)
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts(2000, seed=7), trainer)
    backend.model.save(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text())
    vocabulary["<mask>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer"}')
    return folder


def write_word_piece(folder: Path, lower: bool = True) -> Path:
    """`vocab.txt` and settings of a BERT, with [PAD] 0 and the other special tokens elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))  # type: ignore[call-arg]
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    backend.train_from_iterator(texts(2000, seed=7), trainer)
    pieces = sorted(backend.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("\n".join(piece for piece, _ in pieces) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": lower}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def unigram_pieces() -> list[tuple[str, float]]:
    """Pieces with scores as XLM-R has them, special tokens first and the mask last."""
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=800, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(texts(2000, seed=7), trainer)
    pieces = [(piece, score) for piece, score in json.loads(backend.to_str())["model"]["vocab"]]
    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    return [*special, *((p, s) for p, s in pieces if p != "<unk>"), ("<mask>", 0.0)]


def sizes(layers: int, heads: int, inner: int) -> dict[str, int]:
    """Of an encoder of 48 wide states, as most configurations of transformers name them."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    return dict(zip(names, (48, layers, heads, inner), strict=True))


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """No parameter at its usual first value: norms, biases, tables and LayerScale count too."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        vector = parameter.ndim < 2
        parameter.copy_(
            (1.0 if vector and name.endswith("weight") else 0.0) + (0.1 if vector else 0.15) * noise
        )
    return module.eval()


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    """float64 within 1e-9, float32 within 1e-5 of the largest value."""
    assert found.dtype == expected.dtype
    if found.dtype == torch.float64:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    else:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
