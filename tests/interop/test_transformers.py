"""Text encoders of transformers behind the encoder's protocol, against transformers itself."""

import json
from dataclasses import replace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.evaluation.tiny import tiny_pretrained
from tests.interop.foreign import (
    assert_equal,
    edit_json,
    randomise,
    texts,
    write_byte_level,
    write_word_piece,
)
from xfm.config.model import FusionConfig, ModelConfig, TransformersTextConfig
from xfm.errors import UserError
from xfm.interop.compose import read_language
from xfm.modeling.folder import load_model, save_model
from xfm.modeling.xfm import XFM

COMMON = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "max_position_embeddings": 60}
SETTINGS = {
    "modernbert": COMMON | {"intermediate_size": 64, "global_attn_every_n_layers": 2, "local_attention": 8},
    "bert": COMMON | {"intermediate_size": 64},
    "roberta": COMMON | {"intermediate_size": 64, "max_position_embeddings": 62},
    "electra": COMMON | {"intermediate_size": 64, "embedding_size": 24},
    "distilbert": {"dim": 48, "n_layers": 2, "n_heads": 3, "hidden_dim": 64, "max_position_embeddings": 60},
}


def save(kind: str, folder):
    byte_level = kind == "roberta"
    write = write_byte_level if byte_level else write_word_piece
    wanted = transformers.RobertaTokenizerFast if byte_level else transformers.BertTokenizerFast
    tokenizer = wanted.from_pretrained(str(write(folder.parent / "vocabulary")))
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep")}
    ids |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    config = transformers.AutoConfig.for_model(kind, vocab_size=len(tokenizer), **ids, **SETTINGS[kind])
    torch.manual_seed(0)
    trunk = randomise(transformers.AutoModel.from_config(config))
    trunk.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return trunk


def compose(part, projection: int = 16) -> XFM:
    vision = tiny_pretrained().model.config.vision
    return XFM(ModelConfig(vision, part.config, FusionConfig(1, 3, 64), projection)).eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", SETTINGS)
@torch.no_grad()
def test_equal_to_transformers(kind, dtype, tmp_path):
    trunk = save(kind, tmp_path / "model").to(dtype)
    part = read_language(f"hf:{tmp_path / 'model'}")
    assert (part.config.width, part.config.max_positions) == (48, 60)
    encoded = part.tokenizer.encode_batch(texts(200, seed=3), 60)
    assert encoded.ids.shape[1] == 60
    expected = trunk(input_ids=encoded.ids, attention_mask=encoded.mask.long()).last_hidden_state
    found = part.encoder.to(dtype)(encoded.ids, encoded.mask)
    assert_equal(found[encoded.mask], expected[encoded.mask])
    assert not any("pooler" in name for name in part.encoder.state_dict())


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_model_folder_keeps_it(kind, tmp_path):
    """Saved and loaded with the model; the MLM head is tied to its words, of whatever width they are."""
    save(kind, tmp_path / "hf")
    part = read_language(f"hf:{tmp_path / 'hf'}")
    model = compose(part)
    model.language.load_state_dict(part.encoder.state_dict())
    preprocessing = tiny_pretrained().preprocessing
    save_model(tmp_path / "model", model, part.tokenizer, preprocessing, {})
    loaded = load_model(tmp_path / "model")
    assert loaded.model.config == model.config
    encoded = loaded.tokenizer.encode_batch(texts(5), 30)
    states = model.encode_text(encoded.ids, encoded.mask)
    assert torch.equal(loaded.model.encode_text(encoded.ids, encoded.mask), states)
    logits = loaded.model.language_logits(states[:, 0])
    assert logits.shape == (5, part.config.vocab_size)
    logits.sum().backward()
    assert loaded.model.language.words.weight.grad is not None
    assert model.words_fit == (kind != "electra")  # whose words are narrower
    if model.words_fit:
        model.inherit_words()
        assert torch.equal(model.fusion.embeddings.words.weight, model.language.words.weight)
    else:
        with pytest.raises(ValueError, match="another width"):
            model.inherit_words()


def test_no_code_of_a_folder_is_run(tmp_path, monkeypatch):
    """Neither a model's own code nor kernels or quantisation that its settings ask for."""
    save("bert", tmp_path / "model")
    (tmp_path / "model" / "wreck.py").write_text("raise SystemExit('run')\n")
    edit_json(
        tmp_path / "model" / "config.json",
        auto_map={"AutoModel": "wreck.Model", "AutoConfig": "wreck.Config"},
        attn_implementation="someone/kernel",
    )
    part = read_language(f"hf:{tmp_path / 'model'}")
    settings = json.loads(part.config.settings)
    assert not {"auto_map", "attn_implementation", "_attn_implementation"} & settings.keys()
    hostile = settings | {"_attn_implementation": "someone/kernel", "auto_map": {"AutoModel": "wreck.Model"}}
    encoded = part.tokenizer.encode_batch(texts(2), 20)
    model = compose(replace(part)).language
    assert model.config.settings == part.config.settings
    built = XFM(replace(compose(part).config, language=replace(part.config, settings=json.dumps(hostile))))
    assert built.encode_text(encoded.ids, encoded.mask).shape[-1] == 48


def test_bad_input_is_one_sentence(tmp_path):
    save("bert", tmp_path / "model")
    config = read_language(f"hf:{tmp_path / 'model'}").config
    assert isinstance(config, TransformersTextConfig)
    for settings, words in (
        ("{", "cannot build the text encoder"),
        ('{"model_type": "no-such-kind"}', "cannot build the text encoder"),
        ('{"model_type": "t5"}', "t5 is no text encoder"),
    ):
        with pytest.raises(UserError, match=words) as found:
            XFM(ModelConfig(language=replace(config, settings=settings, width=768)))
        assert "\n" not in str(found.value)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    lost = "encoder.layer.1.output.dense.weight"
    part = {name: tensor for name, tensor in stored.items() if name != lost}
    save_file(part, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=f"lacks the weights of {lost}"):
        read_language(f"hf:{tmp_path / 'model'}")
    edit_json(tmp_path / "model" / "config.json", model_type="no-such-kind")
    with pytest.raises(UserError, match="transformers cannot load"):
        read_language(f"hf:{tmp_path / 'model'}")
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(UserError, match="transformers cannot load"):
        read_language(f"hf:{tmp_path / 'model'}")
