"""Recipes, worlds, shards and checkpoints that are damaged, and runs that go on from them."""

import io
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.data import picture_kinds
from tests.hostile.situation import (
    ENDLESS,
    Names,
    Situation,
    copied,
    cut,
    drop,
    fifo,
    flip,
    folder,
    loop,
    put,
    sparse,
)

PRETRAIN = "pretrain --recipe a.yaml --out out --quiet"
LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]\n" for n in range(1, 12)
)
RECIPES = {
    "empty": b"",
    "noise": bytes(range(256)),
    "laughs": LAUGHS,
    "holds-itself": "training: &t {optim: *t}\n",
    "python-object": "name: !!python/object/apply:os.system ['touch hacked']\n",
    "huge-number": f"base: nano\ntraining: {{steps: {'9' * 400}}}\n",
    "of-10-gib": sparse(10 << 30, b"name: x\n"),
    "fifo": fifo,
    "device": ENDLESS,
    "folder": folder,
}
RECIPE = [
    # Of a number out of range, its field is named.
    Situation(f"pretrain-recipe-{name}", PRETRAIN, {"a.yaml": content},
        ("training.steps" if name == "huge-number" else "a.yaml",))
    for name, content in RECIPES.items()
]  # fmt: skip
TUNE = "finetune text-classification --model {model} --train {rows} --out out --config a.yaml --quiet"
FILES = [
    Situation(f"tune-config-{name}", TUNE, {"a.yaml": content}, ("a.yaml",))
    for name, content in RECIPES.items()
    if name != "empty"
]
TINY = "base: {recipe}\nroot: w\n"


def world(
    name: str, *edits: Callable[[Path, Names], object], says: tuple[str, ...], status: int = 2
) -> Situation:
    files = {"w": copied("{world}", *edits), "a.yaml": TINY}
    return Situation(f"pretrain-{name}", PRETRAIN, files, says, status=(status,))


def members(**contents: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name.replace("__", ".").replace("_up_", "../../"))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


SCENES, TEXT = "pretrain/scenes-00000.tar", "pretrain/text.jsonl"
WORLDS = [
    world("shard-empty", put(SCENES, b""), says=("scenes-00000.tar",)),
    world("shard-cut", cut(SCENES, 0.1), says=("scenes-00000.tar",)),
    world("shard-gzip", put(SCENES, b"\x1f\x8b\x08" + bytes(2000)), says=("scenes-00000.tar",)),
    world("shard-fifo", put(SCENES, fifo), says=("scenes-00000.tar",)),
    world("shard-device", put(SCENES, ENDLESS), says=("scenes-00000.tar",)),
    world("shard-gone", drop(SCENES), says=("scenes-*.tar",)),
    world("shard-leads-out", put(SCENES, members(_up_a__jpg=b"x", _up_a__json=b"{}")), says=("scenes-00000.tar",)),
    world("shard-without-pictures", put(SCENES, members(a__json=b"{}")), says=("scenes-00000.tar",)),
    world("text-noise", put(TEXT, bytes(range(256)) * 99), says=("text.jsonl",)),
    world("text-sparse-of-1-tib", put(TEXT, sparse(1 << 40)), says=("text.jsonl",)),
    world("text-of-one-line", put(TEXT, b"x" * 20_000_000), says=("text.jsonl",)),
    world("tokenizer-fifo", put("tokenizer.json", fifo), says=("tokenizer.json",)),
    world("manifest-fifo", put("world.json", fifo), says=(), status=0),
    Situation("pretrain-no-world", "pretrain --recipe {recipe} --root nowhere --out out --quiet", says=("nowhere",)),
]  # fmt: skip
SEEN = "tasks/retrieval/seen.jsonl"
EVALUATE = "evaluate {model} --world w --out out --scale 0.02 --parts retrieval --quiet"
TASKS = [
    Situation(f"evaluate-task-file-{name}", EVALUATE, {"w": copied("{world}", edit)}, (said,))
    for name, edit, said in (
        ("empty", put(SEEN, b""), "seen.jsonl"),
        ("noise", put(SEEN, bytes(range(256))), "seen.jsonl"),
        ("fifo", put(SEEN, fifo), "seen.jsonl"),
        ("gone", drop(SEEN), "seen.jsonl"),
        ("leads-out", put(SEEN, '{"image": "../../../../../etc/passwd", "captions": ["a"]}\n'), "seen.jsonl:1"),
        ("folder", put(SEEN, folder), "seen.jsonl"),
    )
]  # fmt: skip
RESUME = "pretrain --out run --resume --quiet --training.steps 3"
LAST = "checkpoints/step-00000002"
CHECKPOINTS = [
    Situation(f"resume-{name}", RESUME, {"run": copied("{run}", drop("model/config.json"), *edits)}, says,
        status=(2,), changes=("run",))
    for name, edits, says in (
        ("all-damaged", (flip(f"{LAST}/model.safetensors"), flip("checkpoints/step-00000001/model.safetensors")),
            ("step-00000002",)),
        ("manifest-fifo", (put(f"{LAST}/manifest.json", fifo), drop("checkpoints/step-00000001/manifest.json")),
            ("step-00000002",)),
        ("config-fifo", (put("config.yaml", fifo),), ("config.yaml",)),
        ("other-model", (put("config.yaml", "base: nano\n"),), ("worlds/emoji",)),
    )
] + [
    Situation(f"info-checkpoint-state-{name}", "info c", {"c": copied(f"{{run}}/{LAST}", put("state.json", content))},
        ("state.json",))
    for name, content in (("fifo", fifo), ("deep", '{"a":' * 50_000), ("of-10-gib", sparse(10 << 30, b"{")))
] + [
    Situation("info-run-log-device", "info r", {"r": copied("{run}", put("log.jsonl", ENDLESS))}, ("run",),
        status=(0,)),
    Situation("init-from-damaged", "pretrain --recipe {recipe} --out out --quiet --init.model m",
        {"m": copied("{model}", cut("model.safetensors"))}, ("model.safetensors",)),
    Situation("resume-model-changed", "finetune text-classification --model {model} --train {rows} --out o --resume",
        {"o": copied("{tuned}", put("config.yaml", fifo))}, ("o",), changes=("o",), status=(0, 2)),
    Situation("reproduce-data-fifo", "reproduce cola --model {model} --data d --out out --smoke --quiet",
        {"d/glue/cola/train-00000-of-00001.parquet": fifo}, ("train-00000-of-00001.parquet",)),
]  # fmt: skip
KNOWN = b"xfm: pictures that were found whole, 1\n"


def bomb(path: Path, names: Names) -> None:
    packer = zlib.compressobj(1)
    path.write_bytes(KNOWN + b"".join(packer.compress(bytes(1 << 20)) for _ in range(2048)) + packer.flush())


REPRODUCE = "reproduce imagenet --protocols FT --model {model} --data d --out out --smoke --quiet"
PHOTOS = {"d/imagenet/train": copied("{photos}"), "d/imagenet/val": copied("{photos}")}
BENCHMARKS = [
    Situation(f"reproduce-known-pictures-{name}", REPRODUCE, {**PHOTOS, "d/xfm-pictures/looked-at": content},
        ("imagenet/FT",), status=(0,), changes=("d/xfm-pictures", "out"))
    for name, content in (("fifo", fifo), ("noise", bytes(range(256))), ("folder", folder), ("device", ENDLESS),
        ("loop", loop), ("of-10-gib", sparse(10 << 30, KNOWN)), ("bomb", bomb))
] + [
    Situation(f"reproduce-picture-{name}", REPRODUCE,
        {**PHOTOS, "d/imagenet/val": copied("{photos}", put("cold/0.jpg", content))}, ("cold/0.jpg",), status=(0,),
        changes=("d/xfm-pictures", "out"))
    for name, content in (("fifo", fifo), ("device", ENDLESS), ("loop", loop), ("empty", b""),
        ("of-10-gib", sparse(10 << 30, b"\xff\xd8\xff")),
        ("looks-whole", picture_kinds.png(picture_kinds.size_chunk(40, 40), (b"IDAT", b"broken"), (b"IEND", b""))))
] + [
    Situation("reproduce-nlvr2-elsewhere", "reproduce nlvr2 --model {model} --data d --out out --smoke --quiet",
        {"d/nlvr2/data/train.json": '{"identifier": "train-0-0-0", "sentence": "a", "label": "True", "directory": 7}\n',
            "d/nlvr2/images/readme.txt": "x"}, ("images/train/7/train-0-0-img0.png", "NLVR2's folder train")),
]  # fmt: skip
SITUATIONS = [*RECIPE, *FILES, *WORLDS, *TASKS, *CHECKPOINTS, *BENCHMARKS]
