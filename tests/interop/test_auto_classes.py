"""A model folder is one of transformers': the same numbers through its auto classes, there and back."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import xfm.models.interop.transformers as adapter
from tests.alike import thorough
from tests.evaluation.tiny import SIDE, draw, tiny_pretrained
from tests.interop.foreign import randomise, sizes
from tests.interop.foreign_models import with_language, write_text_model
from tests.processes import run
from xfm.config.encoders import TimmVisionConfig
from xfm.models.artifacts import framed, model_pixels
from xfm.models.folder import Pretrained, load_model, save_model
from xfm.models.interop.loading import read_language
from xfm.models.xfm import XFM

TEXTS = ["a red square left of a blue square", "no", "what colour is the <mask> square"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model whose every parameter has been moved away from its initial value."""
    loaded = tiny_pretrained()
    randomise(loaded.model)
    save_model(tmp_path / "model", loaded.model, loaded.tokenizer, loaded.preprocessing, {"recipe": "tiny"})
    return tmp_path / "model"


def auto(kind: type, folder: Path, **kwargs: object) -> torch.nn.Module:
    return kind.from_pretrained(folder, trust_remote_code=False, **kwargs).eval()  # type: ignore[attr-defined]


def inputs(loaded: Pretrained) -> tuple[Tensor, Tensor, Tensor]:
    tokens = loaded.tokenizer.encode_batch(TEXTS, 16)
    return tokens.ids, tokens.mask, torch.randn(2, 3, SIDE, SIDE)


@torch.no_grad()
def test_the_whole_model(folder: Path) -> None:
    loaded, model = load_model(folder), auto(transformers.AutoModel, folder)
    assert isinstance(model, adapter.XFMModel)
    assert model.config.native == loaded.model.config
    ids, mask, pixels = inputs(loaded)
    out = model(input_ids=ids, attention_mask=mask.long(), pixel_values=pixels)
    ours = loaded.model
    assert torch.equal(out.text_states, ours.encode_text(ids, mask))
    assert torch.equal(out.image_states, ours.encode_image(pixels))
    assert torch.equal(out.image_embeds, ours.embed_image(pixels))
    assert torch.equal(model.get_image_features(pixels), out.image_embeds)
    # Its mask is what is not padding; alone, no states but token 0 are computed.
    torch.testing.assert_close(model.get_text_features(ids), out.text_embeds, rtol=1e-5, atol=1e-6)
    logits = (ours.embed_image(pixels) @ ours.embed_text(ids, mask).T / ours.temperature).T
    torch.testing.assert_close(out.logits_per_text, logits, rtol=1e-5, atol=1e-5)
    index = torch.tensor([0, 1, 1])
    fused = model.fuse(out.text_states, mask, out.image_states, index)
    expected = ours.fuse(ours.encode_text(ids, mask), mask, ours.encode_image(pixels), index)
    assert torch.equal(model.match_logits(fused), ours.match_logits(expected))
    assert set(model(input_ids=ids).keys()) == {"text_states", "text_embeds"}  # the mask is found


def test_there_and_back(folder: Path, tmp_path: Path) -> None:
    """What transformers saves is a model folder, with the same weights, tokens, pixels and provenance."""
    model = auto(transformers.AutoModel, folder)
    model.save_pretrained(tmp_path / "again")  # type: ignore[operator]
    transformers.AutoProcessor.from_pretrained(folder).save_pretrained(tmp_path / "again")
    old, new = load_model(folder), load_model(tmp_path / "again")
    assert new.model.config == old.model.config
    assert new.preprocessing == old.preprocessing
    assert new.provenance["recipe"] == "tiny"
    assert new.provenance["saved"]["class"] == "XFMModel"
    files = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "again"))
    first, second = ({name: tensor.shape for name, tensor in stored.items()} for stored in files)
    assert first == second
    for name, tensor in old.model.state_dict().items():
        assert torch.equal(tensor, new.model.state_dict()[name]), name
    assert torch.equal(new.tokenizer.encode_batch(TEXTS, 20).ids, old.tokenizer.encode_batch(TEXTS, 20).ids)


# ---------------------------------------------------------------- inputs
def test_tokens_agree(folder: Path, tmp_path: Path) -> None:
    ours = load_model(folder).tokenizer
    first = transformers.AutoTokenizer.from_pretrained(folder)
    assert isinstance(first, adapter.XFMTokenizer)
    first.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "config.json").write_bytes((folder / "config.json").read_bytes())
    second = transformers.AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    texts = [*TEXTS, "", "  two  spaces ", "ünïcode 漢字 🙂", "a<mask>b </s> c"]
    short = {"padding": True, "truncation": True, "max_length": 24, "return_tensors": "pt"}
    expected = ours.encode_batch(texts, 24)
    pairs = ours.encode_pairs(texts, texts[::-1], 24)
    for tokenizer in (first, second):
        out = tokenizer(texts, **short)
        assert torch.equal(out["input_ids"], expected.ids)
        assert torch.equal(out["attention_mask"].bool(), expected.mask)
        assert set(out) == {"input_ids", "attention_mask"}
        assert torch.equal(tokenizer(texts, texts[::-1], **short)["input_ids"], pairs.ids)
        assert (tokenizer.cls_token_id, tokenizer.sep_token_id) == (ours.bos, ours.eos)
        assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (ours.pad, ours.mask)


@pytest.mark.parametrize("kind", ["pil", "array", "tensor"])
def test_pixels_agree(folder: Path, kind: str, tmp_path: Path) -> None:
    preprocessing = load_model(folder).preprocessing
    picture = draw("red", "blue").resize((57, 40), Image.Resampling.NEAREST)
    array = np.array(picture)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    given = {"pil": picture, "array": array, "tensor": tensor}[kind]
    expected = model_pixels(framed(tensor, preprocessing)[None], preprocessing)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    assert isinstance(processor, adapter.XFMImageProcessor)
    assert torch.equal(processor(given, return_tensors="pt")["pixel_values"], expected)
    several = processor([given, given], return_tensors="np")["pixel_values"]
    assert several.shape == (2, 3, SIDE, SIDE)
    processor.save_pretrained(tmp_path / "images")
    again = adapter.XFMImageProcessor.from_pretrained(tmp_path / "images")
    assert again.preprocessing == preprocessing
    assert processor.size == {"height": SIDE, "width": SIDE}


def test_the_processor_is_both(folder: Path) -> None:
    processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    assert isinstance(processor, adapter.XFMProcessor)
    out = processor(images=[draw("red", "blue")], text=TEXTS, padding=True, return_tensors="pt")
    assert set(out) == {"input_ids", "attention_mask", "pixel_values"}
    model = auto(transformers.AutoModelForZeroShotImageClassification, folder)
    assert model(**out).logits_per_image.shape == (1, len(TEXTS))


# ---------------------------------------------------------------- loading
@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        (transformers.AutoModelForSequenceClassification, {"language", "head"}),
        (transformers.AutoModelForImageClassification, {"vision", "head"}),
        (transformers.AutoModelForMaskedLM, {"language", "language_head", "word_logits"}),
    ],
)
def test_a_task_takes_its_part_of_the_model(folder: Path, kind: type, parts: set[str]) -> None:
    whole = load_model(folder).model.state_dict()
    model = auto(kind, folder, num_labels=3)
    assert {name.split(".")[0] for name, _ in model.named_modules() if name} == parts
    for name, tensor in model.state_dict().items():
        if not name.startswith(("head.", "word_logits.")):
            assert torch.equal(tensor, whole[name]), name
    fresh = {n: t for n, t in model.named_parameters() if n.startswith("head.")}
    for name, tensor in fresh.items():
        if tensor.ndim == 2:  # a linear layer's usual beginning
            bound = tensor.shape[1] ** -0.5
            assert 0.4 * bound < tensor.std() < bound, name
            assert tensor.abs().max() <= bound, name
    other = auto(kind, folder, num_labels=3)
    assert not fresh or any(not torch.equal(t, other.get_parameter(n)) for n, t in fresh.items())


@torch.no_grad()
def assert_same_encoders(folder: Path, model: XFM, **others: Any) -> Tensor:
    """`AutoModel` and `load_model` compute the same, buffers that no file holds included; of these pixels."""
    tiny = tiny_pretrained()
    artifacts = {"tokenizer": tiny.tokenizer, "preprocessing": tiny.preprocessing, **others}
    save_model(folder, randomise(model), **artifacts, provenance={})
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor([draw("red", "blue"), draw("green", "red")])["pixel_values"]
    loaded, model = load_model(folder), auto(transformers.AutoModel, folder)
    tokens = loaded.tokenizer.encode_batch(TEXTS, 16)
    out = model(input_ids=tokens.ids, attention_mask=tokens.mask, pixel_values=pixels)
    assert torch.equal(out.image_states, loaded.model.encode_image(pixels))
    assert torch.equal(out.text_states, loaded.model.encode_text(tokens.ids, tokens.mask))
    kinds = (transformers.AutoModelForMaskedLM, transformers.AutoModelForImageClassification)
    language, vision = (auto(kind, folder, num_labels=2) for kind in kinds)
    logits = language(input_ids=tokens.ids, attention_mask=tokens.mask).logits
    torch.testing.assert_close(logits, loaded.model.language_logits(out.text_states))
    assert torch.equal(vision.vision(pixels), out.image_states)
    return pixels


@pytest.mark.parametrize("architecture", ["beitv2_base_patch16_224", "vit_base_patch16_dinov3"])
def test_encoders_of_timm(architecture: str, tmp_path: Path) -> None:
    """The first has a table of positions that no file holds, the second rotations."""
    tiny = tiny_pretrained()
    vision = TimmVisionConfig(
        architecture=architecture, image_size=SIDE, patch_size=8, width=48, depth=2, heads=3
    )
    assert_same_encoders(tmp_path / "model", XFM(replace(tiny.model.config, vision=vision)))


@pytest.mark.parametrize(("kind", "own"), [("modernbert", {}), ("electra", {"embedding_size": 24})])
def test_encoders_of_transformers(kind: str, own: dict[str, int], tmp_path: Path) -> None:
    """The first has rotations, the second a word matrix of another width than its states."""
    write_text_model(kind, tmp_path / "text", **sizes(2, 3, 64), **own)
    part = read_language(f"hf:{tmp_path / 'text'}")
    assert_same_encoders(tmp_path / "model", with_language(part), tokenizer=part.tokenizer)


# ---------------------------------------------------------------- tied weights
def test_the_masked_language_model_is_tied(folder: Path, tmp_path: Path) -> None:
    loaded = load_model(folder)
    model = auto(transformers.AutoModelForMaskedLM, folder)
    ids, mask, _ = inputs(loaded)
    with torch.no_grad():
        expected = loaded.model.language_logits(loaded.model.encode_text(ids, mask))
        assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, expected)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight  # type: ignore[operator]
    labels = torch.where(torch.rand(ids.shape) < 0.5, ids, -100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    optimizer.step()
    model.save_pretrained(tmp_path / "mlm")  # type: ignore[operator]
    stored = load_file(tmp_path / "mlm" / "model.safetensors")
    assert set(stored) < set(loaded.model.state_dict())  # the names of a model folder, and no second copy
    again = auto(transformers.AutoModelForMaskedLM, tmp_path / "mlm")
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)
        assert not torch.equal(again(input_ids=ids, attention_mask=mask).logits, expected)


@thorough
def test_without_the_library_a_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "from xfm.core.errors import UserError\n"
        "try: import xfm.models.interop.transformers\n"
        "except UserError as error: print(error)"
    )
    assert "pip install 'xfm[transformers]'" in run([sys.executable, "-c", code]).out
