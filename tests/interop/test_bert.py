"""The native language encoder on weights that transformers wrote, against transformers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM

from tests.alike import some
from tests.interop.foreign import assert_equal, sizes, texts
from tests.interop.foreign_models import write_text_model
from xfm.models.heads import TokenHead
from xfm.models.interop.compose import read_language

SIZES = sizes(3, 4, 80) | {"max_position_embeddings": 60}
KINDS = {
    "roberta": {},
    "xlm-roberta": {"spare": 5},  # some files have spare rows
    "bert": {},
    "bert of one segment": {"type_vocab_size": 1},
}


def save(kind, folder: Path, whole: bool = True):
    settings = SIZES | KINDS[kind]
    tokenizer, reference = write_text_model(kind.split()[0], folder, AutoModelForMaskedLM, **settings)
    if not whole:
        reference.base_model.save_pretrained(folder)
    return tokenizer, reference


@pytest.mark.parametrize("dtype", some([torch.float64, torch.float32], 2))
@pytest.mark.parametrize(("whole", "kind"), some([(w, kind) for w in (True, False) for kind in KINDS], 3))
@torch.no_grad()
def test_equal_to_transformers(kind, whole, dtype, tmp_path):
    """Single texts and pairs of many lengths; masked logits where the file has the head."""
    tokenizer, reference = save(kind, tmp_path / "model", whole)
    part = read_language(str(tmp_path / "model"))
    encoder, reference = part.encoder.to(dtype), reference.to(dtype)
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
        head = TokenHead(part.config.width, encoder.words, part.config.norm_eps).to(dtype)
        head.load_state_dict(part.head)
        assert_equal(head(states[encoded.mask], encoder.words), expected.logits[encoded.mask])


def test_what_has_no_place_is_said(tmp_path):
    model = tmp_path / "model"
    save("bert", model)
    assert read_language(str(model)).ignored == ()
    stored = load_file(model / "model.safetensors")
    stored |= {"classifier.weight": torch.zeros(2, 48)}
    save_file(stored, model / "model.safetensors", {"format": "pt"})
    part = read_language(str(model))
    assert part.ignored == ("classifier.weight",)
    assert part.source["reference"] == str(model)


def test_old_names_and_pickled_files(tmp_path):
    """The first BERTs name the LayerNorms' parts gamma and beta, in a PyTorch file."""
    model = tmp_path / "model"
    save("bert", model)
    expected = read_language(str(model)).encoder.state_dict()
    stored = load_file(model / "model.safetensors")
    old = {name.replace("Norm.weight", "Norm.gamma"): tensor for name, tensor in stored.items()}
    old = {name.replace("Norm.bias", "Norm.beta"): tensor for name, tensor in old.items()}
    (model / "model.safetensors").unlink()
    torch.save(old, model / "pytorch_model.bin")
    found = read_language(str(model)).encoder.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
