"""The native language encoder on weights that transformers wrote, against transformers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaTokenizerFast,
)

from tests.interop.foreign import (
    assert_equal,
    edit_json,
    randomise,
    texts,
    unigram_pieces,
    write_byte_level,
    write_word_piece,
)
from xfm.errors import UserError
from xfm.interop.compose import read_language
from xfm.modeling.heads import TokenHead

SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 60,
}


def roberta(folder: Path):
    tokenizer = RobertaTokenizerFast.from_pretrained(str(write_byte_level(folder)))
    return tokenizer, RobertaForMaskedLM(RobertaConfig(vocab_size=len(tokenizer), **SIZES))


def xlm_roberta(folder: Path):
    tokenizer = XLMRobertaTokenizerFast(vocab=unigram_pieces())
    config = XLMRobertaConfig(vocab_size=len(tokenizer) + 5, **SIZES)  # some files have spare rows
    return tokenizer, XLMRobertaForMaskedLM(config)


def bert(folder: Path):
    tokenizer = BertTokenizerFast.from_pretrained(str(write_word_piece(folder)))
    return tokenizer, BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **SIZES))


def bert_of_one_segment(folder: Path):
    tokenizer = BertTokenizerFast.from_pretrained(str(write_word_piece(folder)))
    return tokenizer, BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), type_vocab_size=1, **SIZES))


KINDS = [roberta, xlm_roberta, bert, bert_of_one_segment]


def save(kind, folder: Path, whole: bool = True):
    tokenizer, reference = kind(folder / "vocabulary")
    randomise(reference)
    (reference if whole else reference.base_model).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return tokenizer, reference


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_equal_to_transformers(kind, whole, dtype, tmp_path):
    """Single texts and pairs of many lengths; masked logits where the file has the head."""
    tokenizer, reference = save(kind, tmp_path, whole)
    part = read_language(str(tmp_path / "model"))
    encoder, reference = part.encoder.to(dtype), reference.to(dtype)
    rows, others = texts(40, seed=3), texts(40, seed=4)
    for encoded, theirs in (
        (part.tokenizer.encode_batch(rows, 50), tokenizer(rows, truncation=True, max_length=50)),
        (
            part.tokenizer.encode_pairs(rows, others, 50),
            tokenizer(rows, others, truncation=True, max_length=50),
        ),
    ):
        padded = tokenizer.pad(theirs, return_tensors="pt")
        assert torch.equal(encoded.ids, padded["input_ids"])
        if kind is bert_of_one_segment:
            padded["token_type_ids"] = torch.zeros_like(padded["input_ids"])
        expected = reference(**padded, output_hidden_states=True)
        states = encoder(encoded.ids, encoded.mask)
        assert_equal(states[encoded.mask], expected.hidden_states[-1][encoded.mask])
        if not whole:
            assert part.head == {}
            continue
        head = TokenHead(part.config.width, encoder.words, part.config.norm_eps).to(dtype)
        head.load_state_dict(part.head)
        assert_equal(head(states[encoded.mask], encoder.words), expected.logits[encoded.mask])


def test_what_has_no_place_is_said(tmp_path):
    save(bert, tmp_path)
    part = read_language(str(tmp_path / "model"))
    assert part.ignored == ()
    file = tmp_path / "model" / "model.safetensors"
    stored = load_file(file)
    save_file(stored | {"classifier.weight": torch.zeros(2, 48)}, file, {"format": "pt"})
    part = read_language(str(tmp_path / "model"))
    assert part.ignored == ("classifier.weight",)
    assert part.source["reference"] == str(tmp_path / "model")


@torch.no_grad()
def test_old_names_and_pickled_files(tmp_path):
    """The first BERTs name the LayerNorms' parts gamma and beta, in a PyTorch file."""
    save(bert, tmp_path)
    file = tmp_path / "model" / "model.safetensors"
    expected = read_language(str(tmp_path / "model")).encoder.state_dict()
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in load_file(file).items()
    }
    file.unlink()
    torch.save(old, tmp_path / "model" / "pytorch_model.bin")
    found = read_language(str(tmp_path / "model")).encoder.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


class Wrecker:
    """Runs when unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("wrecked"),))


def test_bad_input_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(roberta, tmp_path)
    model = tmp_path / "model"
    for changes, words in (
        ({"model_type": "deberta-v2"}, "through hf:NAME"),
        ({"hidden_act": "relu"}, "hidden_act is relu"),
        ({"hidden_size": 64}, r"have shape \[48\], expected \[64\]"),
        ({"num_hidden_layers": 4}, r"lacks the weights of layers\.3"),
        ({"num_attention_heads": 5}, "describes no text encoder"),
        ({"pad_token_id": 0}, "pads with 1"),
        ({"vocab_size": 100}, "config.json says 100"),
    ):
        before = (model / "config.json").read_text()
        edit_json(model / "config.json", **changes)
        with pytest.raises(UserError, match=words):
            read_language(str(model))
        (model / "config.json").write_text(before)
    weights = (model / "model.safetensors").read_bytes()
    state = load_file(model / "model.safetensors")
    state["roberta.encoder.layer.0.output.dense.bias"][3] = float("nan")
    save_file(state, model / "model.safetensors")
    with pytest.raises(UserError, match=r"layers\.0\.\S+ holds values that are infinite or no numbers"):
        read_language(str(model))
    (model / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match=r"model\.safetensors is truncated"):
        read_language(str(model))
    (model / "model.safetensors").unlink()
    torch.save({"model": Wrecker()}, model / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin would run code"):
        read_language(str(model))
    assert not Path("wrecked").exists()
    (model / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match="holds no model"):
        read_language(str(model))


def test_a_name_that_is_nowhere(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        UserError, match=r"no-such/model is neither a path here nor can it be read from the hub"
    ):
        read_language("no-such/model")
    with pytest.raises(UserError, match="neither a path"):
        read_language("not a name!")
