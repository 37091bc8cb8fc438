"""The ready-made world, models and tables of the situations, built once by the real commands."""

import csv
import fcntl
import json
from pathlib import Path

from tests.processes import XFM, run

RECIPE = """\
base: nano
name: tiny
root: {world}
model:
  vision: {image_size: 96, patch_size: 16, width: 32, depth: 1, heads: 2}
  language: {vocab_size: 400, width: 32, depth: 1, heads: 2, mlp_width: 64}
  fusion: {depth: 1, heads: 2, mlp_width: 64}
  projection: 16
data:
  text: {batch_size: 4}
  image: {batch_size: 2}
  pair: {batch_size: 4}
  region: {batch_size: 4}
  workers: 0
training: {steps: 2, save_every: 1, precision: fp32}
curriculum: []
"""
WORLD = "--scale 0.004 --objects 100 --heldout_objects 6 --vocab_size 400 --workers 1"
TEXTS = [
    ("a red circle", "warm"),
    ("a blue square", "cold"),
    ("an orange sun", "warm"),
    ("white snow", "cold"),
]


def ready(folder: Path, every: bool = True) -> dict[str, str]:
    """Paths of what is ready-made by name; it is built where it is not there yet, by one process alone.

    What only `make hostile` needs (adapters, a published file) is there if `every`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _build(folder, every)
            (folder / "done").touch()
    names = {
        "world": "world",
        "recipe": "tiny.yaml",
        "run": "run",
        "model": "run/model",
        "tuned": "tuned",
        "apart": "apart",
        "published": "published.th",
        "photos": "photos",
        "rows": "tables/rows.csv",
        "lines": "tables/rows.jsonl",
        "parquet": "tables/rows.parquet",
        "pictures": "tables/pictures.csv",
    }
    return {"ready": str(folder), **{name: str(folder / path) for name, path in names.items()}}


def _build(folder: Path, every: bool) -> None:
    _xfm(folder, f"prepare --out world {WORLD}")
    (folder / "tiny.yaml").write_text(RECIPE.replace("{world}", str(folder / "world")))
    _xfm(folder, "pretrain --recipe tiny.yaml --out run --quiet")
    _tables(folder / "tables")
    _photos(folder)
    tune = "finetune text-classification --model run/model --train tables/rows.csv"
    _xfm(folder, f"{tune} --out tuned --steps 2 --quiet")
    if not every:
        return
    _xfm(folder, f"{tune} --out apart --steps 2 --quiet --tune.language lora --tune.save_adapter_only true")
    _xfm(folder, "export run/model published.th")
    content = json.loads((folder / "world" / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {f"extra{number}": 5000 + number for number in range(9)}
    (folder / "other-tokenizer.json").write_text(json.dumps(content))


def _xfm(folder: Path, command: str) -> None:
    done = run([*XFM, *command.split()], 600, folder)
    if done.status:
        raise RuntimeError(f"xfm {command} failed:\n{done.err[-2000:]}")


def _tables(folder: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    folder.mkdir()
    rows = [{"text": f"{text} {number}", "label": label} for number in range(10) for text, label in TEXTS]
    with (folder / "rows.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet")


def _photos(folder: Path) -> None:
    from PIL import Image

    lines = ["image,label"]
    for kind, colour in (("warm", (200, 40, 20)), ("cold", (20, 60, 200))):
        (folder / "photos" / kind).mkdir(parents=True)
        for number in range(12):
            path = folder / "photos" / kind / f"{number}.jpg"
            Image.new("RGB", (40 + number, 40), tuple(c + number for c in colour)).save(path)
            lines.append(f"{path.relative_to(folder)},{kind}")
    (folder / "tables" / "pictures.csv").write_text("\n".join(lines).replace("photos/", "../photos/") + "\n")
