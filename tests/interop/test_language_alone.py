"""A model of language alone: an encoder that others trained, asked all that texts can be."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import xfm
from tests.alike import some, thorough
from tests.interop.foreign import assert_equal
from tests.interop.foreign_models import write_text_model
from tests.refusals import expect_refusal
from xfm.cli.main import main
from xfm.config.artifacts import Format
from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.finetune import FinetuneConfig
from xfm.config.model import ModelConfig
from xfm.config.tasks import task_specs
from xfm.models.folder import load_model
from xfm.models.runtimes.writing import export
from xfm.models.xfm import XFM

TEXTS = ["The weather is lovely today.", "it's SO sunny!", "no", "He drove to the stadium, and back again."]
SMALL = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": 2}
LONG = {"max_position_embeddings": 130}
FILES = {"config.json", "model.safetensors", "provenance.json", "self_check.json", "tokenizer.json"}
LACKS = ("of language alone", "xfm init --language REFERENCE --vision REFERENCE")


def made(language: str, folder: Path) -> Path:
    assert main(["init", "--language", language, str(folder)]) == 0
    return folder


def write_bert(place: Path) -> str:
    write_text_model("bert", place / "bert", **SMALL, **LONG)
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
    tokenizer, theirs = write_text_model(kind, tmp_path / "theirs", **SMALL, **more)
    ours = xfm.load(made(f"{hf}{tmp_path / 'theirs'}", tmp_path / "ours"))
    given = tokenizer(TEXTS, padding=True, return_tensors="pt")
    tokens = ours.tokenizer.encode_batch(TEXTS, 128).tokens
    assert torch.equal(tokens.ids, given["input_ids"])
    there = tokens.mask[..., None]
    expected = theirs(**given).last_hidden_state * there
    assert_equal(ours.model.encode_text(tokens.ids, tokens.mask) * there, expected)
    means = expected.sum(1) / there.sum(1)
    assert_equal(torch.from_numpy(ours.encode(TEXTS, normalised=False)), means)
    assert_equal(torch.from_numpy(ours.encode(TEXTS)), F.normalize(means, dim=-1))


@thorough
def test_its_vectors_learn_from_pairs_of_texts(alone: Path, tmp_path: Path) -> None:
    """Ten pairs are told apart by heart, and `encode` gives what was learned, of the encoder's width."""
    table = tmp_path / "pairs.csv"
    pairs = [
        (f"question {name}", f"answer {other}")
        for name, other in zip("abcdefghij", "qrstuvwxyz", strict=True)
    ]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("anchor", "positive"), *pairs])
    config = FinetuneConfig(steps=160, batch_size=10, lr=1e-3, device="cpu", baseline=False)
    done = xfm.finetune(
        "sentence-similarity",
        alone,
        table,
        tmp_path / "out",
        config=config,
        valid=table,
        test=table,
        progress=False,
    )
    assert done.scores["sentence-similarity/test/r1"].value == 1.0
    learned = xfm.load(tmp_path / "out" / "model")
    anchors, positives = (learned.encode([pair[side] for pair in pairs]) for side in (0, 1))
    assert anchors.shape == (10, SMALL["hidden_size"])
    assert (anchors @ positives.T).argmax(1).tolist() == [*range(10)]
    before = xfm.load(alone).similarity(*([pair[side] for pair in pairs] for side in (0, 1)))
    assert before.argmax(1).tolist() != [*range(10)]
    temperatures = [xfm.load(path).model.temperature.item() for path in (alone, tmp_path / "out" / "model")]
    assert temperatures[0] != temperatures[1], "it is learned, too"


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
    assert main(["predict", "text-classification", "--model", str(tuned), "--text", TEXTS[0]]) == 0
    printed = json.loads(capsys.readouterr().out)["prediction"]
    asked = xfm.pipeline("text-classification", tuned)(TEXTS[0])
    assert [one["label"] for one in printed] == [one["label"] for one in asked]
    assert printed[0]["score"] == pytest.approx(asked[0]["score"], abs=1e-5)

    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    manifest = export(load_model(tuned), tmp_path / "onnx", Format.ONNX)
    assert [graph.name for graph in manifest.graphs] == ["text", "words", "head"]
    run = xfm.pipeline("text-classification", tmp_path / "onnx")
    for one, other in zip(run(TEXTS), xfm.pipeline("text-classification", tuned)(TEXTS), strict=True):
        assert one[0]["score"] == pytest.approx(other[0]["score"], abs=1e-5)
    with pytest.warns(UserWarning, match="fine-tuned for text-classification"):
        vectors = xfm.pipeline("embed", tmp_path / "onnx")(TEXTS)
    with pytest.warns(UserWarning, match="fine-tuned for text-classification"):
        expected = xfm.load(tuned).encode(TEXTS)
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
    np.testing.assert_allclose(model.encode(TEXTS), xfm.load(alone).encode(TEXTS), rtol=0, atol=1e-5)


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
