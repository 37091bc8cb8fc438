"""`xfm init --pair`: vectors, logits, tokens and pixels are those of the library that the pair comes from."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from tests.alike import some
from tests.interop.foreign import randomise
from xfm.cli.main import main
from xfm.core.errors import UserError
from xfm.inference.loading import load
from xfm.inference.pipeline import pipeline
from xfm.models.artifacts import framed, model_pixels
from xfm.models.interop.pairs import read_pair

TEXTS = [
    "a photo of a Cat, sitting!",
    "dog",
    "two red birds on a wire\n(2020), near the river's bend",
    "x " * 200,
]
SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 2}
SIGLIP = {"vision_config": SMALL | {"image_size": 96, "patch_size": 16}, "text_config": SMALL}
TOWERS = {
    "vision_cfg": {"image_size": 96, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}
CONV = {"image_size": 224, "timm_model_name": "efficientnet_lite0", "timm_pool": "avg", "timm_proj": "linear"}


class Source(NamedTuple):
    ids: Tensor
    pixels: Tensor
    images: Tensor
    texts: Tensor
    logits: Tensor


def pictures() -> list[Image.Image]:
    """Of all shapes, with content at every scale."""
    rng, found = np.random.default_rng(0), []
    for width, height in ((320, 200), (200, 320), (225, 229), (1100, 640), (96, 96), (61, 40)):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), dtype=np.uint8))
        found.append(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return found


def clip_vocabulary() -> tuple[dict[str, int], list[Any]]:
    own = pytest.importorskip("open_clip").tokenizer._tokenizer
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    return {names.get(token, token): index for token, index in own.encoder.items()}, [*own.bpe_ranks]


def of_transformers(folder: Path, model: Any, processor: Any) -> Source:
    randomise(model.eval())
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    inputs = processor(
        text=TEXTS, images=pictures(), return_tensors="pt", padding="max_length", truncation=True
    )
    seen = dict(inputs)
    if not isinstance(model, transformers.CLIPModel):  # SigLIP reads its padding
        seen.pop("attention_mask", None)
    with torch.no_grad():
        found = model(**seen)
    shown = found.image_embeds, found.text_embeds, found.logits_per_image
    return Source(inputs["input_ids"], inputs["pixel_values"], *shown)


def clip(folder: Path) -> Source:
    vocabulary, merges = clip_vocabulary()
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    ends = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    text = SMALL | {"vocab_size": 49408, **ends}
    vision = SMALL | {"image_size": 224, "patch_size": 32}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=48)
    processor = transformers.CLIPProcessor(transformers.CLIPImageProcessor(), tokenizer)
    return of_transformers(folder, transformers.CLIPModel(config), processor)


def siglip(folder: Path, tokenizer: Any, resample: int) -> Source:
    pad = tokenizer.pad_token_id
    of_text = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "pad_token_id": pad}
    ends = {"projection_size": 64, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    config = transformers.SiglipConfig(**SIGLIP | {"text_config": SMALL | of_text | ends})
    shown = transformers.SiglipImageProcessor(size={"height": 96, "width": 96}, resample=resample)
    processor = transformers.SiglipProcessor(shown, tokenizer)
    return of_transformers(folder, transformers.SiglipModel(config), processor)


def siglip_1(folder: Path) -> Source:
    sentencepiece = pytest.importorskip("sentencepiece")
    lines = folder / "lines.txt"
    lines.write_text("\n".join(text.lower() for text in TEXTS[:3] * 40))
    options = {"vocab_size": 34, "pad_id": -1, "bos_id": -1, "eos_id": 1, "unk_id": 0, "minloglevel": 3}
    sentencepiece.SentencePieceTrainer.train(input=str(lines), model_prefix=str(folder / "spiece"), **options)
    return siglip(folder, transformers.SiglipTokenizer(str(folder / "spiece.model")), 3)


def siglip_2(folder: Path) -> Source:
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(TEXTS * 9, trainers.BpeTrainer(vocab_size=340, special_tokens=special))
    own = json.loads(backend.to_str())["model"]
    merges = [tuple(one) for one in own["merges"]]
    more = {"padding_side": "right", "model_max_length": 64, "add_bos_token": False, "add_eos_token": True}
    return siglip(folder, transformers.Siglip2Tokenizer(vocab=own["vocab"], merges=merges, **more), 2)


def open_clip(folder: Path, **settings: Any) -> Source:
    library = pytest.importorskip("open_clip")
    described = {"embed_dim": 48, **TOWERS, **settings}
    model = library.model.CustomTextCLIP(**json.loads(json.dumps(described))).eval()
    randomise(model)
    tensors = {name: t.contiguous() for name, t in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": described, "preprocess_cfg": {}}))
    prepare = library.image_transform(described["vision_cfg"]["image_size"], is_train=False)
    pixels, ids = torch.stack([*map(prepare, pictures())]), library.tokenizer.SimpleTokenizer()(TEXTS)
    with torch.no_grad():
        images, texts = model.encode_image(pixels, normalize=True), model.encode_text(ids, normalize=True)
        return Source(ids, pixels, images, texts, model.get_logits(pixels, ids)[0])


OTHERS = [partial(open_clip, vision_cfg=CONV), partial(open_clip, quick_gelu=True)]
SOURCES = [clip, siglip_2, open_clip, siglip_1, *OTHERS]


def read_as_pair(make: Callable[[Path], Source], folder: Path) -> Source:
    """A source, of which `pair` in the folder is then made."""
    torch.manual_seed(0)
    (source := folder / "source").mkdir()
    wanted = make(source)
    assert main(["init", "--pair", str(source), "--recipe", "nano", str(folder / "pair")]) == 0
    return wanted


@pytest.mark.parametrize("make", some(SOURCES, 3))
def test_a_pair_computes_what_its_source_does(make: Callable[[Path], Source], tmp_path, capsys):
    wanted = read_as_pair(make, tmp_path)
    assert "not trained" in capsys.readouterr().out
    loaded = load(tmp_path / "pair")
    model, shown = loaded.model, loaded.preprocessing
    tokens = loaded.tokenizer.encode_batch(TEXTS, model.config.language.longest)
    for row, ids in enumerate(tokens.ids):
        own = ids[tokens.mask[row]].tolist()
        assert own == wanted.ids[row, : len(own)].tolist()
        assert len(set(wanted.ids[row, len(own) :].tolist())) <= 1  # padding
    read = [torch.from_numpy(np.array(one)).permute(2, 0, 1) for one in pictures()]
    pixels = torch.cat([model_pixels(framed(one, shown)[None], shown) for one in read])
    with torch.no_grad():
        images, texts = model.embed_image(pixels), model.embed_text(tokens.ids, tokens.mask)
        logits = model.pair_logits(images @ texts.T)
    near = {"atol": 1e-5, "rtol": 0}
    for found, own in zip((pixels, images, texts, logits), wanted[1:], strict=True):
        torch.testing.assert_close(found, own, **near)
    np.testing.assert_allclose(loaded.encode(TEXTS), wanted.texts, **near)
    np.testing.assert_allclose(loaded.encode([np.array(one) for one in pictures()]), wanted.images, **near)


def test_a_pair_searches_by_its_vectors_and_says_so(tmp_path):
    wanted = read_as_pair(clip, tmp_path)
    pipe = pipeline("retrieval", str(tmp_path / "pair"))
    with pytest.warns(UserWarning, match="without re-ranking"):
        (hits,) = pipe([TEXTS[1]], images=[np.array(one) for one in pictures()])
    order = (wanted.images @ wanted.texts[1]).argsort(descending=True).tolist()
    assert [hit["index"] for hit in hits] == order[: len(hits)]
    assert all("match" not in hit for hit in hits)
    with pytest.raises(UserError, match="only as it was initialised"):
        pipeline("image-text-matching", str(tmp_path / "pair"))


def test_what_is_no_pair_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "siglip2"}')
    with pytest.raises(UserError, match=r"siglip2.*one size of pictures"):
        read_pair(str(tmp_path))
    (tmp_path / "config.json").unlink()
    described = {"embed_dim": 8, "text_cfg": {"hf_model_name": "roberta-base"}, "vision_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": described}))
    save_file({"logit_scale": torch.ones(1)}, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(UserError, match="roberta-base"):
        read_pair(str(tmp_path))
