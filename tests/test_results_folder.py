"""No command replaces the results of another command, or of another model or other data."""

import json
import os
import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

import xfm
from tests.alike import some
from tests.evaluation.tiny import save_tiny_model, write_world
from tests.folders import content
from tests.interop.published_files import tiny
from tests.official.glue import write_glue
from tests.refusals import expect_refusal
from tests.training.corpus import tiny_recipe, write_corpus
from xfm.cli import evaluate
from xfm.cli.main import main
from xfm.config.evaluation import EvaluationConfig
from xfm.config.finetune import FinetuneConfig
from xfm.core.errors import UserError
from xfm.core.results_folder import (
    MADE_BY,
    ResultOrigin,
    free_name,
    holding,
    model_mark,
    require_free,
    sign,
    unused,
)
from xfm.evaluation.benchmarks.read.glue import GlueTask
from xfm.models.interop.published.file import export
from xfm.reports.scores import left_out_sentence, stored_flags

SAMPLES = Path(__file__).parents[1] / "docs" / "tutorials" / "samples"
REVIEWS, SHAPES = SAMPLES / "reviews.csv", SAMPLES / "shapes.csv"


def run(words: Sequence[str | Path]) -> int:
    return main([*map(str, words)])


def refused(words: Sequence[str | Path], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    before = content(folder)
    capsys.readouterr()
    assert run(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("xfm: ")
    assert error.count("\n") == 1
    assert content(folder) == before
    return error


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What commands read: a world, official files, a corpus, a fine-tuned model and a published file."""
    root = tmp_path_factory.mktemp("given")
    write_world(root / "world")
    write_glue(root / "data" / "glue", GlueTask.COLA)
    write_corpus(root / "corpus")
    for seed, name in ((1, "first"), (2, "second")):
        save_tiny_model(root / name, seed)
        export(tiny(seed=seed), root / f"{name}.th")
        config = FinetuneConfig(steps=2, batch_size=4, device="cpu", seed=seed)
        tuned = root / f"{name}-tuned"
        xfm.finetune("text-classification", root / name, REVIEWS, tuned, config=config, progress=False)
    return root


COMMANDS = {
    "evaluate": "evaluate MODEL --world ROOT/world --out OUT --parts paraphrase --scale 0.01 SHORT",
    "test": "evaluate MODEL-tuned --test REVIEWS --out OUT SHORT",
    "finetune": "finetune text-classification --model MODEL --train REVIEWS --out OUT --steps 2 "
    "--batch-size 4 SHORT",
    "probe": "evaluate MODEL --train SHAPES --test SHAPES --out OUT --methods knn --neighbours 2 "
    "--device cpu",
    "zero-shot": "evaluate MODEL --test SHAPES --out OUT --device cpu",
    "reproduce": "reproduce cola --model MODEL --data ROOT/data --out OUT --smoke SHORT",
    "convert": "convert MODEL.th OUT --recipe nano",
}
"""What makes folders."""
ONLY_REFUSED = {
    "pretrain": "pretrain --recipe nano --root ROOT/corpus --folder OUT --quiet",
    "quickstart": "quickstart --folder OUT --smoke",
    "prepare": "prepare --folder OUT --scale 0.002",
    "init": "init --language MODEL --vision MODEL OUT",
    "export": "export MODEL FILE",
    "predict": "predict embed --model MODEL --input REVIEWS --out FILE --restart SHORT",
}
"""What would write into them, too; FILE is one of the files that are there."""


def words_of(command: str, model: Path, out: Path) -> list[str]:
    file = min((path for path in out.glob("*") if path.is_file()), default=out)
    places = {"MODEL": model, "ROOT": model.parent, "OUT": out, "FILE": file, "REVIEWS": REVIEWS}
    for name, place in (places | {"SHAPES": SHAPES, "SHORT": "--quiet --device cpu"}).items():
        command = command.replace(name, str(place))
    return command.split()


@pytest.fixture(scope="module")
def made(given: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("made")
    found = {name: root / name for name in COMMANDS}
    for name, command in COMMANDS.items():
        assert main(words_of(command, given / "first", found[name])) == 0, name
    found["pretrain"] = root / "pretrain"
    xfm.pretrain(tiny_recipe(given / "corpus", steps=2), found["pretrain"], progress=False, device="cpu")
    found["prepare"] = Path(shutil.copytree(given / "world", root / "prepare"))
    return found


WRITERS = COMMANDS | ONLY_REFUSED
HOLDERS = (*COMMANDS, "pretrain", "prepare")
APART = {
    ("prepare", "prepare"),  # a world of other settings is refused, a run is continued or refused, and
    ("pretrain", "pretrain"),  # the quickstart moves runs aside: each has tests of its own
    ("pretrain", "quickstart"),
    ("finetune", "quickstart"),
}


@pytest.mark.parametrize(
    ("holder", "writer"), some([one for one in product(HOLDERS, WRITERS) if one not in APART], 4)
)
def test_every_command_into_the_folder_of_every_other(
    given: Path,
    made: dict[str, Path],
    tmp_path: Path,
    holder: str,
    writer: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of another model, where it is the same command."""
    monkeypatch.chdir(tmp_path)
    out = Path(shutil.copytree(made[holder], tmp_path / "out"))
    assert str(out) in refused(words_of(WRITERS[writer], given / "second", out), out, capsys)


@pytest.mark.parametrize("command", ["probe", "zero-shot"])
def test_pictures_of_a_table_are_not_put_into_the_folder_of_another(given, made, tmp_path, command, capsys):
    """Tables that hold their pictures have them written to the folder of the results."""
    pictures = [(SAMPLES / name).read_bytes() for name in ("pictures/1.png", "pictures/2.png")]
    table = pa.table({"image": [{"bytes": data, "path": None} for data in pictures], "label": ["a", "b"]})
    parquet.write_table(table, held := tmp_path / "held.parquet")
    out = Path(shutil.copytree(made["finetune"], tmp_path / "out"))
    words = ["evaluate", given / "first", "--test", held, "--out", out]
    refused([*words, *(["--train", held] if command == "probe" else [])], out, capsys)


def test_the_folders_say_who_made_them(made: dict[str, Path]) -> None:
    evaluations = dict.fromkeys(("test", "probe", "zero-shot"), "evaluate")
    commands = {name: evaluations.get(name, name) for name in COMMANDS if name != "convert"}
    for name, command in commands.items():
        signed = json.loads((made[name] / MADE_BY).read_text())
        assert signed["command"] == command
        details = made[name] / ("probe.json" if name in ("probe", "zero-shot") else "evaluation.json")
        if details.exists():
            assert json.loads(details.read_text())["made_by"] == signed


@pytest.mark.parametrize("name", ["evaluate", "test", "probe", "zero-shot", "reproduce", "convert"])
def test_the_same_again_is_welcome(given: Path, made: dict[str, Path], tmp_path: Path, name: str) -> None:
    """The same command on the same model and data may go on, or be repeated."""
    out = Path(shutil.copytree(made[name], tmp_path / "out"))
    assert main(words_of(COMMANDS[name], given / "first", out)) == 0


@pytest.mark.parametrize("holder", [name for name in COMMANDS if name != "convert"])
def test_unsigned_folders_are_foreign(given, made, tmp_path, holder, capsys):
    out = Path(shutil.copytree(made[holder], tmp_path / "out"))
    (out / MADE_BY).unlink()
    for writer in ("finetune", "probe", "test", "evaluate"):
        arguments = words_of(COMMANDS[writer], given / "first", out)
        assert "such as --out" in refused(arguments, out, capsys), writer


def test_an_evaluation_stands_beside_its_own_pre_training(given, made, tmp_path):
    run = Path(shutil.copytree(made["pretrain"], tmp_path / "run"))
    require_free(run, ResultOrigin("evaluate"), model=run / "model")
    for model in (given / "first", run.parent):
        with pytest.raises(UserError, match=r"run holds a run of `xfm pretrain`: give another folder"):
            require_free(run, ResultOrigin("evaluate"), model=model)
    (run / "metrics.json").write_text("{}")
    sign(run, ResultOrigin("evaluate", {"model": "a"}))
    require_free(run, ResultOrigin("evaluate", {"model": "a"}), model=run / "model")
    with pytest.raises(UserError, match="of another model"):
        require_free(run, ResultOrigin("evaluate", {"model": "b"}), model=run / "model")


def test_a_model_is_not_pre_trained_over(given: Path, made: dict[str, Path], tmp_path: Path) -> None:
    """Its run has no checkpoints any more, so that nothing said that it was there."""
    run = Path(shutil.copytree(made["pretrain"], tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    before = content(run)
    with pytest.raises(UserError, match=r"run holds a run of `xfm pretrain`: .* --out .*run-2"):
        xfm.pretrain(tiny_recipe(given / "corpus", steps=2), run, progress=False, device="cpu")
    assert content(run) == before


def test_what_was_only_begun_may_be_begun_otherwise(tmp_path: Path) -> None:
    """A signature without results, a model or checkpoints holds nothing."""
    sign(tmp_path / "out", ResultOrigin("finetune", {"data": "a"}))
    assert holding(tmp_path / "out") is None
    require_free(tmp_path / "out", ResultOrigin("probe"))


def test_free_names_do_not_exist(tmp_path: Path) -> None:
    assert unused(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "run-0.5").mkdir()
    assert unused(tmp_path / "run-0.5") == tmp_path / "run-0.5"
    (tmp_path / "run-0.5" / "file").touch()
    assert unused(tmp_path / "run-0.5") == tmp_path / "run-0.5-2"
    (tmp_path / "run-0.5-2").touch()
    assert free_name(tmp_path / "run-0.5") == tmp_path / "run-0.5-3"
    (tmp_path / "a.th").touch()
    assert free_name(tmp_path / "a.th") == tmp_path / "a-2.th"


def test_a_world_is_not_built_over_what_lies_beside_it(given, tmp_path, capsys):
    world = Path(shutil.copytree(given / "world", tmp_path / "world"))
    (world / "notes.txt").write_text("mine")
    said = refused(["prepare", "--folder", world, "--scale", "0.002", "--force"], world, capsys)
    assert "world holds notes.txt beside the world" in said


def test_nothing_is_drawn_over_the_pictures_of_others(given, tmp_path, capsys):
    """Rows are drawn as NUMBER.jpg, a name that own pictures may have too; a run goes on with its own."""
    command = ["predict", "grounding", "--model", given / "first", "--input", SAMPLES / "boxes.csv"]
    command += ["--device", "cpu", "--quiet", "--out"]
    photos, drawn, answers = tmp_path / "photos", tmp_path / "drawn", tmp_path / "a.jsonl"
    photos.mkdir()
    (photos / "2.jpg").write_bytes(b"mine")
    said = refused([*command, answers, "--draw", photos], tmp_path, capsys)
    assert f"photos holds something else than the pictures of {answers}" in said
    for _ in range(2):
        assert run([*command, answers, "--draw", drawn]) == 0
    assert sum(name.endswith(".jpg") for name in content(drawn)) == 10
    refused([*command, tmp_path / "b.jsonl", "--draw", drawn], drawn, capsys)


def maker_of(folder: Path) -> ResultOrigin | None:
    return found.maker if (found := holding(folder)) else None


def test_runs_of_earlier_versions_are_told_by_their_settings(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    kinds = {"task: vqa\nfinetune:\n  steps: 3\n": "finetune", "name: nano\n": "pretrain"}
    for settings, command in kinds.items():
        (tmp_path / "config.yaml").write_text(settings)
        assert maker_of(tmp_path) == ResultOrigin(command)


def test_hostile_marks_neither_block_nor_end_in_an_error(tmp_path: Path) -> None:
    """What a folder says of itself may be anybody's: pipes, links in a circle, paths that are none."""
    (tmp_path / "evaluation.json").write_text("{}")

    def pipe(name: str, held: str) -> None:
        (tmp_path / name).unlink(missing_ok=True)
        os.mkfifo(tmp_path / name)
        with pytest.raises(UserError, match=rf"holds {held} of .*-2"):
            require_free(tmp_path, ResultOrigin("probe"))

    pipe(MADE_BY, "results")
    pipe("evaluation.json", "results")
    assert stored_flags(tmp_path) == []
    assert left_out_sentence(tmp_path) == ""
    (tmp_path / "evaluation.json").unlink()
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    pipe("config.yaml", "a run")


@pytest.mark.parametrize("what", ["pipe", "folder", "nothing", "endless"])
def test_weights_that_cannot_be_read_are_named(tmp_path: Path, what: str) -> None:
    """Not only those of the model: every such file in its folder is what it is known by."""
    path = tmp_path / "m" / "more.safetensors"
    path.parent.mkdir()
    (path.parent / "model.safetensors").write_bytes(b"weights")
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "nothing":
        path.symlink_to("nowhere")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 42)
    with expect_refusal(str(path), "copy it again" if what != "endless" else "of memory here"):
        model_mark(path.parent)


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("model", "."),  # named from inside its run
        ("runs/a/model", "runs/a"),
        ("runs/a/checkpoints/step-00000001", "runs/a/evaluation-step-00000001"),
        ("checkpoints/step-00000001", "evaluation-step-00000001"),
    ],
)
def test_an_evaluation_stands_beside_its_model_and_one_of_a_checkpoint_apart(model: str, folder: str) -> None:
    found = evaluate._results_folder(Path(model), EvaluationConfig(), Path("worlds/emoji"))
    assert found == Path(folder)
