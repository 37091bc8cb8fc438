"""Pre-training from files to a model folder, with looks at data that is not trained on."""

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.refusals import expect_refusal
from tests.training.corpus import tiny_recipe, write_corpus
from tests.training.support import called, files_of, logged, logged_losses
from xfm.cli.main import main
from xfm.config.data import Augmentation, CorpusConfig, StreamConfig, StreamsConfig
from xfm.config.encoders import TextPositions
from xfm.config.load import dump_recipe
from xfm.config.phases import PhaseConfig, PhaseWeights
from xfm.config.recipe import InitConfig, Recipe
from xfm.config.training import NegativesConfig
from xfm.models.artifacts import model_card
from xfm.models.folder import Preprocessing, load_model, save_model
from xfm.training.checkpoint import AVERAGE, checkpoint_path
from xfm.training.curriculum import CurriculumData
from xfm.training.distributed import Process
from xfm.training.pretrain import begin, build_model, overruled, pretrain
from xfm.training.pretraining_step import Validation

ALONE = Process(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    pretrain(tiny_recipe(corpus, save_every=3, keep=9), folder, progress=False)
    return folder


def test_run_folder(run):
    files = {"config.yaml", "log.jsonl", "schedule.csv", "checkpoints", "model"}
    assert {p.name for p in run.iterdir()} == files
    loaded = load_model(run / "model")
    assert loaded.preprocessing.image_size == 32
    assert loaded.provenance["recipe"] == "tiny"
    assert loaded.provenance["steps"] == 6
    assert loaded.tokenizer.vocab_size <= 300
    stored = build_model(replace(tiny_recipe(run), init=InitConfig(model=str(run / "model"))))
    for a, b in zip(stored.parameters(), loaded.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_every_checkpoint_is_a_model_folder(run):
    """It says all that a model folder says, of its own step."""
    for steps in (3, 6):
        loaded = load_model(checkpoint_path(run, steps))
        provenance = loaded.provenance
        assert provenance["position"] == {"steps": steps, "of": 6, "batches": steps}
        assert provenance["precision"] == "fp32"
        assert provenance["gradients"]["itm"] == ["fusion", "vision"]
        assert provenance["licences"]["code"] == "Apache-2.0"
        assert provenance["licences"]["weights"] is None
        assert provenance["data"]["text"] == provenance["data"]["text"][:1]  # of all phases, each path once
    final = load_model(run / "model")
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, final.model.state_dict()[name]), name
    assert loaded.tokenizer.to_json() == final.tokenizer.to_json()
    assert loaded.preprocessing == final.preprocessing
    assert loaded.provenance == final.provenance


def test_what_a_composed_model_began_with_is_kept(run, corpus, tmp_path):
    start = load_model(run / "model")
    parts = {"language": {"reference": "words", "licence": "mit"}}
    provenance = {"recipe": "first", "steps": 7, "seed": 3, "composed": parts, "fresh": []}
    save_model(tmp_path / "start", start.model, start.tokenizer, start.preprocessing, provenance)
    init = InitConfig(model=str(tmp_path / "start"))
    recipe = replace(tiny_recipe(corpus, steps=1), init=init, licence="CC-BY-4.0")
    provenance = load_model(pretrain(recipe, tmp_path / "run", progress=False)).provenance
    assert provenance["began_with"] == {"recipe": "first", "steps": 7, "seed": 3, "composed": parts}
    assert provenance["licences"]["weights"] == "CC-BY-4.0"


def test_what_a_recipe_asks_of_a_model_that_is_there_already_is_told(run, corpus, tmp_path, caplog):
    recipe = replace(tiny_recipe(corpus, steps=1), init=InitConfig(model=str(run / "model")))
    assert overruled(recipe, begin(recipe)[0]) == ""
    other = replace(recipe.model, fusion=replace(recipe.model.fusion, positions=TextPositions.SINE))
    pretrain(replace(recipe, model=other), tmp_path / "run", progress=False)
    assert "decides the model, not the recipe: model.fusion.positions is none, not sine" in caplog.text


def test_curriculum_data_is_a_function_of_the_step(corpus):
    recipe = tiny_recipe(corpus)
    whole = list(CurriculumData(recipe, ALONE).batches(0, 6))
    rest = list(CurriculumData(recipe, ALONE).batches(1, 5))
    assert [batch.step for batch in whole] == list(range(6))
    assert [batch.origins for batch in rest] == [batch.origins for batch in whole[1:5]]
    accumulated = CurriculumData(tiny_recipe(corpus, gradient_accumulation_steps=2), ALONE).batches(0, 12)
    assert [batch.pair is None for batch in accumulated] == [True] * 4 + [False] * 8


def test_a_phase_may_weigh_the_losses_and_learn_at_another_rate(corpus, tmp_path):
    recipe = tiny_recipe(corpus)
    contrast = PhaseWeights(mlm=0, itm=0, imlm=0, mim=0, box_l1=0, box_giou=0)
    optim = replace(recipe.training.optim, warmup=0, hold=1.0)
    phases = [PhaseConfig(until=0.5, weights=contrast), PhaseConfig(1.0, lr_scale=0.25)]
    recipe = replace(recipe, training=replace(recipe.training, optim=optim), curriculum=phases)
    pretrain(recipe, tmp_path / "run", progress=False)
    lines = {line["step"]: line for line in logged(tmp_path / "run") if "event" not in line}
    assert lines[3]["losses"].keys() == {"pair/itc", "region/itc"}
    assert {"text/mlm", "pair/itc", "region/box_giou"} <= lines[4]["losses"].keys()
    assert [lines[step]["lr"] for step in (3, 4)] == pytest.approx([optim.lr, optim.lr / 4])


def test_encoders_from_other_models(run, corpus):
    recipe = replace(
        tiny_recipe(corpus), init=InitConfig(vision=str(run / "model"), language=str(run / "model"))
    )
    model, source = build_model(recipe), load_model(run / "model").model
    assert torch.equal(model.vision.cls, source.vision.cls)
    assert torch.equal(model.language.embeddings.words.weight, source.language.embeddings.words.weight)
    assert not torch.equal(model.text_proj.weight, source.text_proj.weight)


def with_photos(corpus, photos, recipe, steps):
    """A corpus, four pictures in a folder, and a recipe of both."""
    write_corpus(corpus)
    photos.mkdir()
    for number in range(4):
        Image.new("RGB", (32, 32)).save(photos / f"{number}.png")
    plain = tiny_recipe(corpus, steps=steps)
    image = replace(plain.data.image, batch_size=2, corpora=[CorpusConfig(str(photos))])
    recipe.write_text(dump_recipe(replace(plain, data=replace(plain.data, image=image))))


def test_bad_records_are_logged_and_counted_at_the_end(tmp_path, capsys):
    recipe, photos, folder = tmp_path / "tiny.yaml", tmp_path / "photos", tmp_path / "run"
    with_photos(tmp_path / "corpus", photos, recipe, steps=12)
    shard = tmp_path / "corpus" / "scenes-00000.tar"
    shard.write_bytes(shard.read_bytes().replace(b"PNG", b"XXX", 2))  # the first pictures do not decode
    (photos / "3.png").write_bytes(b"")
    (photos / "film.mov").write_bytes(b"")
    assert main(["pretrain", "--recipe", str(recipe), "--out", str(folder), "--quiet"]) == 0
    bad = {line["key"] for line in logged(folder) if line.get("event") == "bad_record"}
    assert bad >= {f"{shard}:{key:05d}" for key in range(2)}
    assert any("3.png" in key for key in bad)
    said = capsys.readouterr().out
    assert re.search(r"3 records could not be read, \S+:\S+ among them; log.jsonl says", said)


OFTEN = {"validate_every": 2, "validate_steps": 2, "ema": 0.5, "save_every": 3, "keep": 9}
OFTEN |= {"negatives": NegativesConfig(queue_size=8)}  # what remembers does not notice looks either


HELD_OUT = StreamsConfig(
    text=StreamConfig(4, [CorpusConfig("text.jsonl")]),
    pair=StreamConfig(4, [CorpusConfig("held-out/*.tar")], Augmentation.NONE),
)


def validated(root: Path, held_out: StreamsConfig = HELD_OUT, **training: object) -> Recipe:
    """The tiny recipe with pairs and texts that it looks at."""
    recipe = tiny_recipe(root)
    return replace(
        recipe,
        data=replace(recipe.data, validation=held_out),
        training=replace(recipe.training, **(OFTEN | training)),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_corpus(tmp_path_factory.mktemp("corpus"))
    write_corpus(folder / "held-out", pictures=9)
    return folder


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    pretrain(validated(root), folder, progress=False)
    return folder


def looks(folder: Path) -> dict[int, dict]:
    """What was seen, by step."""
    return {line["step"]: line for line in logged(folder) if line.get("event") == "validation"}


def looked(root: Path, model: Path) -> dict[str, float]:
    """What a model folder's weights give."""
    loaded = load_model(model)
    held, model = Validation(validated(root), ALONE, Preprocessing(32)), loaded.model.eval()
    with torch.no_grad():
        return held.look(model, called(model))


def test_looks_are_logged_with_the_weights_and_with_their_average(finished: Path, root: Path) -> None:
    found = looks(finished)
    assert list(found) == [2, 4, 6]
    for line in found.values():
        assert line["losses"].keys() == line["average"].keys()
        assert {"loss", "text/mlm", "pair/itc", "pair/itm", "pair/imlm", "pair/mim"} == line["losses"].keys()
        assert all(math.isfinite(value) for kind in ("losses", "average") for value in line[kind].values())
    assert looked(root, checkpoint_path(finished, 6)) == pytest.approx(found[6]["losses"], rel=1e-6)
    assert looked(root, finished / "model") == pytest.approx(found[6]["average"], rel=1e-6)


def test_the_finished_model_is_the_average_and_checkpoints_have_both(finished: Path) -> None:
    stored = checkpoint_path(finished, 6)
    raw, average = load_file(stored / "model.safetensors"), load_file(stored / AVERAGE)
    model = load_model(finished / "model")
    own = dict(model.model.named_parameters())
    assert own.keys() == average.keys() - {"|steps"}
    for name, parameter in own.items():
        assert torch.equal(parameter, average[name]), name
    assert any(not torch.equal(raw[name], average[name]) for name in own)
    assert "decay 0.5" in model.provenance["weights"]
    assert "decay 0.5" in model_card(model.model.config, model.artifacts)
    assert "weights" not in load_model(stored).provenance


def test_the_run_is_that_without_looks(finished: Path, root: Path, tmp_path: Path) -> None:
    recipe = validated(root, StreamsConfig(), validate_every=0, ema=0.0)
    pretrain(recipe, tmp_path / "run", progress=False)
    assert logged_losses(tmp_path / "run") == logged_losses(finished)
    for step in (3, 6):
        plain, seen = (
            load_file(checkpoint_path(of, step) / "model.safetensors") for of in (tmp_path / "run", finished)
        )
        assert all(torch.equal(plain[name], seen[name]) for name in plain)
    assert not looks(tmp_path / "run")
    assert not (checkpoint_path(tmp_path / "run", 6) / AVERAGE).exists()


def test_resume_from_disk_is_bit_for_bit(finished: Path, root: Path, tmp_path: Path) -> None:
    """With losses that remember earlier steps, looks, an average, and another number of loader processes."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(checkpoint_path(tmp_path / "run", 6))
    shutil.rmtree(tmp_path / "run" / "model")
    recipe = validated(root)
    recipe = replace(recipe, data=replace(recipe.data, workers=1))
    pretrain(recipe, tmp_path / "run", resume=True, progress=False)
    assert looks(tmp_path / "run") == looks(finished)
    assert logged_losses(tmp_path / "run") == logged_losses(finished)
    resumed, whole = (files_of(checkpoint_path(of, 6)) for of in (tmp_path / "run", finished))
    assert {**resumed, "provenance.json": b""} == {**whole, "provenance.json": b""}  # it names the settings
    ours, theirs = (load_file(of / "model" / "model.safetensors") for of in (tmp_path / "run", finished))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_what_does_not_go_together_is_one_sentence(root: Path, finished: Path, tmp_path: Path) -> None:
    recipe = validated(root)
    with expect_refusal("training.validate_every", "data.validation", kind=ValueError):
        replace(recipe, training=replace(recipe.training, validate_every=0))
    with expect_refusal("training.validate_every", "data.validation", kind=ValueError):
        replace(recipe, data=replace(recipe.data, validation=StreamsConfig()))
    with expect_refusal("training.ema", kind=ValueError):
        replace(recipe.training, ema=1.0)
    gone = replace(recipe.data.validation, pair=StreamConfig(4, [CorpusConfig("nowhere-*.tar")]))
    with expect_refusal("data.validation", "nowhere-*.tar"):
        pretrain(replace(recipe, data=replace(recipe.data, validation=gone)), tmp_path / "a", progress=False)
    assert not any(tmp_path.iterdir())
    with expect_refusal("training.ema", "0.5", "0.9"):
        pretrain(validated(root, ema=0.9), finished, resume=True, progress=False)
