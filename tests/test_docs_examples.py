"""The pages run as they stand, one block after the other, with tiny models where a quickstart's would be."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from PIL import Image

import xfm
from tests.alike import some
from tests.evaluation.tiny import save_tiny_model
from tests.inference.models import pictures, save, tuned
from tests.official.pictures import noisy_colours
from tests.pages import NOTEBOOKS, ROOT, commands, files, run_python
from xfm.cli.main import main
from xfm.config import tasks
from xfm.config.tasks import task_specs
from xfm.config.world import WorldConfig
from xfm.models.folder import load_model
from xfm.reports.scores import read_scores
from xfm.world.scene import Split
from xfm.world.units import MAKERS, Part, Unit, WorkerState

DOCS = ROOT / "docs"
_OTHERS = "README.md", "your-photos.md"
TUTORIALS = sorted(path for path in (DOCS / "tutorials").glob("*.md") if path.name not in _OTHERS)
SHORT = ["--steps", "3", "--batch-size", "4", "--precision", "fp32", "--device", "cpu", "--quiet"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_model(Path("runs/quickstart/model"))
    return tmp_path


@pytest.fixture
def pets(place):
    noisy_colours(place / "pets", train=6, test=3)


def test_the_scores_of_the_readme_are_those_of_the_model_of_the_package(tmp_path, monkeypatch, capsys):
    """Its command, with a piece of the world that holds the picture."""
    monkeypatch.chdir(tmp_path)
    Path("worlds/emoji/tasks/images").mkdir(parents=True)
    studio = WorkerState(WorldConfig(), Path("worlds/emoji"))
    MAKERS[Part.GROUNDING](studio, Unit(Part.GROUNDING, Split.SEEN, 0, 4))
    page = ROOT / "README.md"
    ((*asked, text),) = [words for words in commands(page, "xfm") if words[1:2] == ["image-text-matching"]]
    found = re.search(r'# ([\d.]+); "(at [^"]+)": ([\d.]+)', page.read_text())
    assert found
    for said, score in ((text, found[1]), (f"{text.partition(' at ')[0]} {found[2]}", found[3])):
        assert main([*asked, said]) == 0
        answer = json.loads(capsys.readouterr().out)["prediction"]
        assert answer["score"] == pytest.approx(float(score), abs=0.01)


def test_the_readme_says_which_text_is_nearer():
    (line,) = [line for line in (ROOT / "README.md").read_text().splitlines() if "model.similarity(" in line]
    found = re.search(
        r'similarity\("(.+)", \["a (\w+)", "(.+)"\]\)\)  # ([\d.]+), ([\d.]+): the (\w+) is nearer', line
    )
    assert found
    text, near, far, *scores, nearer = found.groups()
    cosines = xfm.load("small").similarity(text, [f"a {near}", far]).ravel().tolist()
    assert cosines == pytest.approx([*map(float, scores)], abs=0.006)
    assert nearer == near
    assert cosines[0] > cosines[1] + 0.1


def test_own_data_becomes_a_model(tmp_path, monkeypatch):
    """The page on data, from the files that it assumes to a model, in two steps."""
    page = DOCS / "data.md"
    monkeypatch.chdir(tmp_path)
    Path("own/photos").mkdir(parents=True)
    captions = [f"a {colour} square" for colour in ("red", "green", "blue", "yellow") for _ in range(3)]
    for number in range(len(captions)):
        Image.new("RGB", (40, 30), (20 * number, 90, 200)).save(f"own/photos/{number}.png")
    rows = [{"image": f"photos/{n}.png", "caption": caption} for n, caption in enumerate(captions)]
    Path("own/pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = [{"text": f"Number {number} is a {word}."} for number, word in enumerate(captions)]
    Path("own/text.jsonl").write_text("\n".join(map(json.dumps, texts)))
    run_python(page, monkeypatch)
    Path("own.yaml").write_text(files(page)["own.yaml"])
    small = ["--training.steps", "2", "--data.workers", "0", "--data.text.batch-size", "4"]
    small += ["--data.pair.batch-size", "4", "--data.image.batch-size", "2"]
    ((_, *arguments),) = [words for words in commands(page, "xfm") if words[0] == "pretrain"]
    assert main(["pretrain", *arguments, *small, "--quiet"]) == 0
    lines = [json.loads(line) for line in Path("runs/own/log.jsonl").read_text().splitlines()]
    assert {"text/mlm", "image/mim", "pair/itc", "pair/itm", "pair/imlm"} <= lines[-1]["losses"].keys()
    assert load_model("runs/own/model").provenance["recipe"] == "own"


def test_python_of_image_classification(pets, capsys, monkeypatch):
    names = run_python(DOCS / "image-classification.md", monkeypatch)
    assert "C = " in capsys.readouterr().out
    scores = read_scores(Path("runs/pets/metrics.json"))
    assert scores["image-classification/test/linear_accuracy"].value > 0.9
    assert names["done"].model.exists()


def test_commands_of_image_classification(pets):
    found = commands(DOCS / "image-classification.md", "xfm")
    assert [words[0] for words in found] == ["evaluate", "evaluate", "finetune"]
    for words in found:
        short = ["--steps", "2", "--batch-size", "4"] if words[0] == "finetune" else []
        assert main([*words, *short]) == 0


def test_pipelines(tmp_path, monkeypatch):
    page = DOCS / "pipelines.md"
    monkeypatch.chdir(tmp_path)
    for name, kind in {"quickstart": None, "questions": "vqa", "captions": "captioning"}.items():
        save(tmp_path / "runs" / name / "model", tuned(kind))
    Path("photos").mkdir()
    for number, picture in enumerate(pictures(3), start=1):
        picture.save(f"photos/{number}.png")
    rows = [{"photo": f"photos/{n}.png", "q": "where is it", "id": f"q{n}"} for n in (1, 2, 3)]
    Path("questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("queries.csv").write_text("text\na red square\nblue\n")
    Path("phrases.csv").write_text("image,text\nphotos/1.png,the left square\nphotos/2.png,the right one\n")
    run_python(page, monkeypatch)
    assert Path("boxes.png").stat().st_size > 1000
    assert Path("attention.png").stat().st_size > 1000
    written = [json.loads(line) for line in Path("preds.jsonl").read_text().splitlines()]
    assert [row["id"] for row in written] == ["q1", "q2", "q3"]
    Path("preds.jsonl").unlink()  # of other options than the command's
    for arguments in commands(page, "xfm"):
        if not {"--help", "--array", "--engine"} & {*arguments}:  # clusters are the matter of other tests
            assert main([*arguments, "--quiet"]) == 0
    assert len(Path("vectors.jsonl").read_text().splitlines()) == 3
    assert {path.name for path in Path("drawn").glob("*.jpg")} == {"2.jpg", "3.jpg"}  # lines of the table


def test_transformers(place, monkeypatch):
    for library in ("accelerate", "peft"):
        pytest.importorskip(library, reason=f"the page uses {library}")
    page = run_python(DOCS / "transformers.md", monkeypatch)
    page["with_scores"]("runs/quickstart/model", {"R@1": 0.5})
    assert "| R@1 | 0.5 |" in Path("models/scored/README.md").read_text()
    written = {path.name for path in Path("models/colours").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"} <= written


def test_libraries(tmp_path, monkeypatch):
    pytest.importorskip("sentence_transformers", minversion="6")
    page = DOCS / "libraries.md"
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number, picture in enumerate(pictures(3), start=1):
        picture.save(f"photos/{number}.png")
    for arguments in commands(page, "xfm"):
        assert main(arguments) == 0
    names = run_python(page, monkeypatch)
    assert names["vectors"].shape[0] == 5
    vectors = names["st"].encode(["a cat", "a dog left of a car"])
    assert abs(vectors - names["vectors"][:2]).max() < 1e-5
    probabilities = names["judge"].predict([("a cat", picture) for picture in pictures(3)])
    assert abs(probabilities - names["model"].match("a cat", names["photos"])).max() < 1e-5
    pytest.importorskip("mteb", reason="make libraries installs mteb")
    assert names["wrapped"]().mteb_model_meta.modalities == ["text", "image"]


def test_fine_tuning(place, monkeypatch):
    """Its function learns from a table with the columns that it names."""
    lines = (DOCS / "tutorials/samples/reviews.csv").read_text().splitlines()
    Path("my.csv").write_text("\n".join(["review,stars", *lines[1:]]) + "\n")
    page = run_python(DOCS / "finetuning.md", monkeypatch)
    assert 0 <= page["learn"]("my.csv") <= 1
    assert Path("runs/reviews/report.html").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_extending(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tasks, "_known", dict(tasks._known))  # what the page adds is known here alone
    page = run_python(DOCS / "extending.md", monkeypatch)
    assert page["SPEC"].name in tasks.task_names()


def test_every_task_has_a_tutorial():
    assert {page.stem for page in TUTORIALS} == {one.name for one in task_specs(tunable=True)}
    linked = re.findall(r"\(([\w-]+\.md)\)", (DOCS / "tutorials" / "README.md").read_text())
    assert {page.name for page in TUTORIALS} <= {*linked}


@pytest.mark.parametrize("page", some(TUTORIALS, 6), ids=lambda page: page.stem)
def test_a_tutorial(page, place, monkeypatch):
    shutil.copytree(DOCS / "tutorials" / "samples", "samples")
    learn, answer = commands(page, "xfm")
    assert main([*learn, *SHORT]) == 0
    assert main([*answer, "--quiet"]) == 0
    out = Path(answer[answer.index("--out") + 1])
    assert len([json.loads(line) for line in out.read_text().splitlines()]) == 10
    run_python(page, monkeypatch)


@pytest.mark.parametrize("library", ["open-clip", "sentence-transformers", "transformers"])
def test_coming_from_another_library(library, place, monkeypatch):
    """Its Python, then its commands but for those that ask the network or have no data here."""
    page = DOCS / f"coming-from-{library}.md"
    shutil.copytree(DOCS / "tutorials" / "samples", "samples")
    shutil.copy("samples/answers.csv", "answers.csv")
    shutil.copytree("samples/pictures", "photos")
    assert run_python(page, monkeypatch)["vectors"].shape[1] == 128
    runnable = [words for words in commands(page, "xfm") if words[0] in ("search", "embed", "export")]
    assert [main(words) for words in runnable] == [0] * len(runnable)


REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"].get("Repository", "")
PRINTED = {
    "classifier-from-200-rows": "of 200 new rows",
    "pretrain-your-own": "of 32 are right",
    "search-your-photos": "not there: fits False",
}


@pytest.mark.slow
@pytest.mark.parametrize("path", some(NOTEBOOKS, 3), ids=lambda path: path.stem)
def test_a_notebook(path, tmp_path, monkeypatch):
    cells = json.loads(path.read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    place = f"{REPOSITORY.replace('https://github.com', 'github')}/blob/main/docs/notebooks/{path.name}"
    colab = f"(https://colab.research.google.com/{place if REPOSITORY else ''})"
    assert f"[Open in Colab]{colab}" in "".join(cells[0]["source"])
    nbformat, nbclient, _ = map(pytest.importorskip, ("nbformat", "nbclient", "ipykernel"))
    monkeypatch.setenv("SMOKE", "1")
    notebook = nbformat.read(path, 4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    printed = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())]
    assert PRINTED[path.stem] in "".join(printed)
