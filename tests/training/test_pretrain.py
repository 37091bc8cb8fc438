"""Pre-training from files to a model folder."""

import json
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.alike import some
from tests.processes import Running
from tests.training.corpus import tiny_recipe, write_corpus
from tests.training.faults import command, sentence, trains
from tests.training.support import files_of, logged, logged_losses
from xfm.cli.main import main
from xfm.config.data import CorpusConfig
from xfm.config.encoders import LanguageConfig, TextPositions
from xfm.config.load import dump_recipe
from xfm.config.phases import PhaseConfig, PhaseStream, PhaseWeights
from xfm.config.recipe import InitConfig
from xfm.config.training import NegativesConfig, Precision
from xfm.core.errors import UserError
from xfm.models.folder import load_model, save_model
from xfm.training.checkpoint import checkpoint_path, load_checkpoint
from xfm.training.curriculum import CurriculumData
from xfm.training.distributed import Process
from xfm.training.pretrain import begin, build_model, new_parts, overruled, pretrain

ALONE = Process(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    pretrain(tiny_recipe(corpus, save_every=3, keep=9), folder, progress=False)
    return folder


def test_run_folder(run):
    files = {"config.yaml", "log.jsonl", "schedule.csv", "tensorboard", "checkpoints", "model"}
    assert {p.name for p in run.iterdir()} == files
    loaded = load_model(run / "model")
    assert loaded.preprocessing.image_size == 32
    assert loaded.provenance["recipe"] == "tiny"
    assert loaded.provenance["steps"] == 6
    assert loaded.tokenizer.vocab_size <= 300
    stored = build_model(replace(tiny_recipe(run), init=InitConfig(model=str(run / "model"))))
    for a, b in zip(stored.parameters(), loaded.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("gain", "resolved"), [(1.0, "fp32"), (2.0, "bf16")])
def test_a_model_says_what_auto_became(gain, resolved, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("xfm.models.precision._cpu_gain", lambda: gain)
    pretrain(tiny_recipe(corpus, steps=1, save_every=1, precision=Precision.AUTO), tmp_path, progress=False)
    for folder in (tmp_path / "model", checkpoint_path(tmp_path, 1)):
        assert load_model(folder).provenance["precision"] == resolved


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
    other = replace(recipe.model, fusion=replace(recipe.model.fusing, positions=TextPositions.SINE))
    pretrain(replace(recipe, model=other), tmp_path / "run", progress=False)
    assert "decides the model, not the recipe: model.fusion.positions is none, not sine" in caplog.text


def test_curriculum_changes_the_streams(run):
    lines = {line["step"]: line["losses"].keys() for line in logged(run) if "event" not in line}
    assert all(lines[step] == {"text/mlm"} for step in (1, 2))
    for step in (3, 4, 5, 6):
        assert {"text/mlm", "image/mim", "pair/mim", "pair/itc", "region/box_giou"} <= lines[step]


def test_curriculum_data_is_a_function_of_the_step(corpus):
    recipe = tiny_recipe(corpus)
    whole = list(CurriculumData(recipe, ALONE).batches(0, 6))
    rest = list(CurriculumData(recipe, ALONE).batches(1, 5))
    assert [batch.step for batch in whole] == list(range(6))
    assert [batch.origins for batch in rest] == [batch.origins for batch in whole[1:5]]
    accumulated = CurriculumData(tiny_recipe(corpus, gradient_accumulation_steps=2), ALONE).batches(0, 12)
    assert [batch.pair is None for batch in accumulated] == [True] * 4 + [False] * 8


def test_a_phase_may_weigh_the_losses(corpus, tmp_path):
    recipe = tiny_recipe(corpus)
    contrast = PhaseWeights(mlm=0, itm=0, imlm=0, mim=0, box_l1=0, box_giou=0)
    recipe = replace(recipe, curriculum=[PhaseConfig(until=0.5, weights=contrast)])
    pretrain(recipe, tmp_path / "run", progress=False)
    lines = {line["step"]: line["losses"] for line in logged(tmp_path / "run") if "event" not in line}
    assert lines[3].keys() == {"pair/itc", "region/itc"}
    assert {"text/mlm", "pair/itc", "region/box_giou"} <= lines[4].keys()


def test_a_phase_may_learn_at_another_rate(corpus, tmp_path):
    recipe = tiny_recipe(corpus)
    optim = replace(recipe.training.optim, warmup=0, hold=1.0)
    recipe = replace(
        recipe,
        training=replace(recipe.training, optim=optim),
        curriculum=[PhaseConfig(0.5), PhaseConfig(1.0, lr_scale=0.25)],
    )
    pretrain(recipe, tmp_path / "run", progress=False)
    rates = {line["step"]: line["lr"] for line in logged(tmp_path / "run") if "event" not in line}
    assert rates[3] == pytest.approx(optim.lr)
    assert rates[4] == pytest.approx(optim.lr / 4)


def test_a_phase_may_begin_with_the_language_encoders_words(corpus, tmp_path):
    recipe = tiny_recipe(corpus, save_every=3, keep=9)
    no_fusion = PhaseWeights(itm=0, imlm=0, mim=0, box_l1=0, box_giou=0)
    phases = [
        PhaseConfig(until=0.5, weights=no_fusion),
        PhaseConfig(1.0, weights=no_fusion, init_fusion_embeddings_from_language=True),
    ]
    recipe = replace(recipe, curriculum=phases)
    pretrain(recipe, tmp_path / "run", progress=False)
    before, after = build_model(recipe), load_model(tmp_path / "run" / "model").model
    load_checkpoint(checkpoint_path(tmp_path / "run", 3), before)
    assert not torch.equal(before.fusion.embeddings.words.weight, before.language.embeddings.words.weight)
    before.init_fusion_embeddings_from_language()
    for part in ("fusion.embeddings.", "fusion_head."):  # as the phase found them: nothing trains them here
        copied = {name: value for name, value in after.state_dict().items() if name.startswith(part)}
        assert copied
        for name, value in copied.items():
            assert torch.equal(value, before.state_dict()[name]), name
    assert not torch.equal(
        after.fusion.embeddings.words.weight, after.language.embeddings.words.weight
    )  # a copy


@pytest.mark.parametrize("workers", [0, 1])
def test_resume_from_disk_is_bit_for_bit(run, corpus, tmp_path, workers):
    """The next steps of a run restarted in a new process, with another number of loader processes."""
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(checkpoint_path(tmp_path / "run", 6))
    recipe = tiny_recipe(corpus, save_every=3, keep=9)
    recipe = replace(recipe, data=replace(recipe.data, workers=workers))
    pretrain(recipe, tmp_path / "run", resume=True, progress=False)
    assert logged_losses(tmp_path / "run") == logged_losses(run)


def test_resume_goes_on_with_the_negatives_of_earlier_steps(corpus, tmp_path):
    recipe = tiny_recipe(corpus, save_every=3, keep=9)
    negatives = NegativesConfig(queue_size=8)
    recipe = replace(recipe, training=replace(recipe.training, negatives=negatives))
    pretrain(recipe, tmp_path / "whole", progress=False)
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    shutil.rmtree(checkpoint_path(tmp_path / "run", 6))
    pretrain(recipe, tmp_path / "run", resume=True, progress=False)
    assert logged_losses(tmp_path / "run") == logged_losses(tmp_path / "whole")
    kept = files_of(checkpoint_path(tmp_path / "whole", 6))
    assert files_of(checkpoint_path(tmp_path / "run", 6)) == kept


def test_compiling_keeps_the_names(corpus):
    plain, compiled = build_model(tiny_recipe(corpus)), build_model(tiny_recipe(corpus), compiled=True)
    assert plain.state_dict().keys() == compiled.state_dict().keys()


def test_which_parts_are_new(corpus):
    fresh, loaded = new_parts(InitConfig()), new_parts(InitConfig(vision="v", language="l"))
    recipe = tiny_recipe(corpus)
    for name, _ in build_model(
        replace(recipe, model=replace(recipe.model, pixel_head=True))
    ).named_parameters():
        head = "head" in name or "proj" in name
        assert name.startswith(fresh) == head, name
        assert name.startswith(loaded) == (head or name.startswith("fusion.")), name
    assert new_parts(InitConfig(model="m")) == ()


def test_encoders_from_other_models(run, corpus):
    recipe = replace(
        tiny_recipe(corpus), init=InitConfig(vision=str(run / "model"), language=str(run / "model"))
    )
    model, source = build_model(recipe), load_model(run / "model").model
    assert torch.equal(model.vision.cls, source.vision.cls)
    assert torch.equal(model.language.embeddings.words.weight, source.language.embeddings.words.weight)
    assert not torch.equal(model.text_proj.weight, source.text_proj.weight)


def small_vocabulary(recipe):
    return replace(recipe, model=replace(recipe.model, language=LanguageConfig(100, 24, 1, 2, 32, 18)))


def a_later_phase_without_data(recipe):
    """Told before the first step."""
    return replace(
        recipe, curriculum=[PhaseConfig(until=0.5), PhaseConfig(until=0.9, text=PhaseStream(corpora=[]))]
    )


def shards_that_are_not_there(recipe):
    text = replace(recipe.data.text, corpora=[CorpusConfig("x-*.tar")])
    return replace(recipe, data=replace(recipe.data, text=text))


def a_root_without_a_tokenizer(recipe):
    return replace(recipe, root=str(Path(recipe.root).parent))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (small_vocabulary, r"tokenizer.json .*100"),
        (a_later_phase_without_data, "corpora"),
        (shards_that_are_not_there, r"x-\*\.tar"),
        (a_root_without_a_tokenizer, "tokenizer"),
    ],
)
def test_bad_input_is_one_sentence(corpus, tmp_path, change, named):
    with pytest.raises(UserError, match=named):
        pretrain(change(tiny_recipe(corpus)), tmp_path / "run", progress=False)
    assert not any(tmp_path.iterdir())


def with_photos(corpus, photos, recipe, steps):
    """A corpus, four pictures in a folder, and a recipe of both."""
    write_corpus(corpus)
    photos.mkdir()
    for number in range(4):
        Image.new("RGB", (32, 32)).save(photos / f"{number}.png")
    plain = tiny_recipe(corpus, steps=steps)
    image = replace(plain.data.image, batch_size=2, corpora=[CorpusConfig(str(photos))])
    recipe.write_text(dump_recipe(replace(plain, data=replace(plain.data, image=image))))


def test_bad_records_are_logged_counted_at_the_end_and_kept_in_the_folder(tmp_path, capsys):
    recipe, photos, folder = tmp_path / "tiny.yaml", tmp_path / "photos", tmp_path / "run"
    with_photos(tmp_path / "corpus", photos, recipe, steps=12)
    shard = tmp_path / "corpus" / "scenes-00000.tar"
    shard.write_bytes(shard.read_bytes().replace(b"PNG", b"XXX", 2))  # the first pictures do not decode
    (photos / "3.png").write_bytes(b"")
    (photos / "film.mov").write_bytes(b"")
    folder.mkdir()
    (folder / "bad.jsonl").write_text('{"place": "of a run that was thrown away", "error": "x"}\n')
    assert main(["pretrain", "--recipe", str(recipe), "--folder", str(folder), "--quiet"]) == 0
    bad = {line["key"] for line in logged(folder) if line.get("event") == "bad_record"}
    assert bad >= {f"{shard}:{key:05d}" for key in range(2)}
    kept = [json.loads(line) for line in (folder / "bad.jsonl").read_text().splitlines()]
    places = [row["place"] for row in kept if "place" in row]
    assert len(places) == len(set(places)) == 3
    assert any("3.png" in place for place in places)
    assert [row["kinds"] for row in kept if "kinds" in row] == [{".mov": {"count": 1, "first": ["film.mov"]}}]
    said = capsys.readouterr().out
    assert re.search(rf"3 records were left out: \S+:\S+ \(.*\); all in {folder / 'bad.jsonl'}", said)


def test_names_with_brackets_are_no_patterns(tmp_path):
    """Of the recipe, its root, a folder of pictures and the run, all on the command line."""
    recipe, folder = tmp_path / "tiny [1].yaml", tmp_path / "run [1]"
    with_photos(tmp_path / "world [1]", tmp_path / "photos [a-z]", recipe, steps=1)
    words = ["pretrain", "--recipe", str(recipe), "--folder", str(folder), "--quiet"]
    assert main(words) == 0
    assert load_model(folder / "model").provenance["steps"] == 1
    assert main([*words, "--root", str(tmp_path / "world *"), "--resume"]) == 2  # there is no such folder


@pytest.mark.parametrize(
    ("number", "workers"), some([(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 0)], 3)
)
def test_interrupted_on_the_command_line(corpus, tmp_path, number, workers):
    """A process group gets a signal, as from a terminal or a scheduler: saved, one line, status 130."""
    with Running(command(corpus, tmp_path, workers=workers)) as running:
        running.wait_until(lambda: trains(tmp_path, 3))
        running.signal(number, group=True)
        said = sentence(running.end(), 130)
    assert "--resume" in said
    saved = logged(tmp_path / "run")[-1]["step"]
    assert f"stopped after step {saved}" in said
    assert checkpoint_path(tmp_path / "run", saved).is_dir()
