"""Text encoders of transformers behind the encoder's protocol, against transformers itself."""

import json
from dataclasses import replace

import pytest
import torch

from tests.evaluation.tiny import tiny_pretrained
from tests.interop.foreign import assert_equal, edit_json, sizes, texts
from tests.interop.foreign_models import with_language, write_text_model
from tests.refusals import expect_refusal
from xfm.config.encoders import TransformersTextConfig
from xfm.config.model import ModelConfig
from xfm.models.folder import load_model, save_model
from xfm.models.interop.compose import read_language
from xfm.models.xfm import XFM

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
    assert logits.shape == (5, part.config.vocab_size)
    logits.sum().backward()
    assert loaded.model.language.words.weight.grad is not None
    assert model.words_fit == (kind != "electra")  # whose words are narrower
    if model.words_fit:
        model.init_fusion_embeddings_from_language()
        assert torch.equal(model.fusion.embeddings.words.weight, model.language.words.weight)
    else:
        with pytest.raises(ValueError, match="another width"):
            model.init_fusion_embeddings_from_language()


def test_no_code_of_a_folder_is_run(tmp_path):
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
    model = with_language(part).language
    assert model.config.settings == part.config.settings
    hostile = replace(part.config, settings=json.dumps(hostile))
    built = XFM(replace(with_language(part).config, language=hostile))
    assert built.encode_text(encoded.ids, encoded.mask).shape[-1] == 48


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("{", "cannot build the text encoder"),
        ('{"model_type": "no-such-kind"}', "cannot build the text encoder"),
        ('{"model_type": "t5"}', "t5 is no text encoder"),
    ],
)
def test_settings_of_no_text_encoder_are_one_sentence(tmp_path, settings, named):
    save("bert", tmp_path / "model")
    config = read_language(f"hf:{tmp_path / 'model'}").config
    assert isinstance(config, TransformersTextConfig)
    with expect_refusal(named):
        XFM(ModelConfig(language=replace(config, settings=settings, width=768)))
