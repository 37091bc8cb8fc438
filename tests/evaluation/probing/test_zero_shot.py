"""Zero-shot classification: prompts, their mean, templates and names from files."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.evaluation.tiny import COLOURS, save_tiny_model, tiny_pretrained
from xfm.cli.main import main
from xfm.config.training import Precision
from xfm.data.tokenizer import normalise_caption
from xfm.evaluation.probing.prompt_templates import load_templates, prompt
from xfm.evaluation.probing.scoring import class_vectors
from xfm.models.features import Encoder
from xfm.reports.scores import read_scores

TEMPLATES = ["a {} square", "it is a {}", "where is the {} square no"]


@pytest.fixture
def encoder():
    pretrained = tiny_pretrained()
    return Encoder(pretrained.model, pretrained.tokenizer, Precision.FP32, batch_size=4)


def test_a_class_is_the_mean_of_its_prompts(encoder):
    found = class_vectors(encoder, list(COLOURS), TEMPLATES)
    for name, vector in zip(COLOURS, found, strict=True):
        vectors = []
        for text in [prompt(template, name) for template in TEMPLATES]:
            encoded = encoder.tokenizer.encode_batch([normalise_caption(text)], 40)
            with torch.no_grad():
                vectors.append(encoder.model.embed_text(encoded.ids, encoded.mask)[0])
        expected = F.normalize(torch.stack(vectors).mean(0), dim=0)
        torch.testing.assert_close(vector, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("template", "name", "expected"),
    [
        ("a photo of a {}", "dog", "a photo of a dog"),
        ("a photo of a {}", "a dog", "a photo of a dog"),
        ("a {}", "A photo of a dog", "A photo of a dog"),
        ("This is a photo of {}.", "a dog", "This is a photo of a dog."),
        ("a {}", "A4 paper", "a A4 paper"),
        ("the {} beside the {}", "a dog", "a dog beside a dog"),
    ],
)
def test_what_a_name_brings_along_is_not_written_twice(template, name, expected):
    assert prompt(template, name) == expected


def test_templates_of_a_file(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("a {} square\n\n  the {}  \n")
    assert load_templates(str(path)) == ["a {} square", "the {}"]


def test_the_command_scores_a_folder(tmp_path, capsys):
    save_tiny_model(tmp_path / "model")
    for name, colour in COLOURS.items():
        (tmp_path / "test" / name[:2]).mkdir(parents=True)
        Image.new("RGB", (40, 30), colour).save(tmp_path / "test" / name[:2] / "0.png")
    names = "".join(f"{name[:2]} = {name}\n" for name in COLOURS)
    (tmp_path / "names.txt").write_text(names)
    places = {"--test": "test", "--out": "out", "--names": "names.txt"}
    given = [word for option, name in places.items() for word in (option, str(tmp_path / name))]
    command = ["evaluate", str(tmp_path / "model"), *given, "--templates", "plain"]
    top5 = "image-classification/test/zero_shot_top5"
    assert main(command) == 0
    scores = read_scores(tmp_path / "out" / "metrics.json")
    assert scores["image-classification/test/zero_shot_accuracy"].n == 4
    assert "zero shot accuracy" in capsys.readouterr().out
    assert top5 not in scores  # of the four classes
    (tmp_path / "names.txt").write_text(names + "".join(f"x{n} = kind {n}\n" for n in range(6)))
    assert main(command) == 0
    assert top5 in read_scores(tmp_path / "out" / "metrics.json")
    (tmp_path / "names.txt").write_text("re\n")
    assert main(command) == 2
    assert "names.txt:1" in capsys.readouterr().err
