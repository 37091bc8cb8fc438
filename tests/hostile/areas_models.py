"""Model folders, checkpoints and recipes that are damaged, missing, no files, or written to do harm."""

import json
from pathlib import Path
from typing import Any

from tests.hostile.situation import (
    DANGLING,
    ENDLESS,
    Content,
    Names,
    Situation,
    bound,
    change,
    copied,
    cut,
    drop,
    fifo,
    flip,
    folder,
    link,
    loop,
    put,
    sparse,
)

TEXTS = "text\na red circle\n"
PREDICT = "predict text-classification --input in.csv --out out.jsonl --quiet --model m"
TUNE = "finetune text-classification --train {rows} --out out --steps 1 --quiet --model m"
INFO = "info m"
GIB = 1 << 30


def of_model(
    name: str, *edits: Any, says: tuple[str, ...], command: str = INFO, source: str = "{model}", **more: Any
) -> Situation:
    files = {"m": copied(source, *edits), "in.csv": TEXTS}
    return Situation(name, command, files, says, **more)


NO_FILES: dict[str, Content] = {
    "fifo": fifo,
    "device": ENDLESS,
    "folder": folder,
    "socket": bound,
    "loop": loop,
    "dangling": DANGLING,
}
KINDS = [
    of_model(f"info-{file}-{kind}", put(file, content), says=(file,))
    for file in ("config.json", "model.safetensors", "provenance.json")
    for kind, content in NO_FILES.items()
] + [
    of_model(
        f"predict-{file}-{kind}", put(file, content), says=(file,), command=PREDICT, source="{tuned}/model"
    )
    for file in ("tokenizer.json", "preprocessing.json", "task.json", "task.safetensors")
    for kind, content in (("fifo", fifo), ("device", ENDLESS))
]
DAMAGED = [
    of_model(f"{verb}-{name}", edit, says=(name.split("-")[0],), command=command, source="{tuned}/model")
    for verb, command in (("predict", PREDICT), ("tune", TUNE))
    for name, edit in {
        "config.json-cut": cut("config.json"),
        "config.json-gone": drop("config.json"),
        "config.json-of-10-gib": put("config.json", sparse(10 * GIB, b"{")),
        "config.json-deep": put("config.json", "[" * 200_000),
        "config.json-width-1e9": change("config.json", language__width=10**9),
        "config.json-pixels-1e9": change("config.json", vision__image_size=16 * 10**8),
        "model.safetensors-cut": cut("model.safetensors"),
        "model.safetensors-gone": drop("model.safetensors"),
        "model.safetensors-length-2e63": put("model.safetensors", (1 << 63).to_bytes(8, "little") + b"{}"),
        "model.safetensors-header-of-90-mib": put(
            "model.safetensors", sparse(100 << 20, (90 << 20).to_bytes(8, "little") + b"{")
        ),
        "model.safetensors-of-1-tib": put(
            "model.safetensors", sparse(1 << 40, (2).to_bytes(8, "little") + b"{}")
        ),
        "tokenizer.json-cut": cut("tokenizer.json"),
        "tokenizer.json-of-10-gib": put("tokenizer.json", sparse(10 * GIB, b"{")),
    }.items()
    # Both read a model in one way; fine-tuning writes more.
    if verb == "predict" or name in ("config.json-gone", "model.safetensors-cut", "tokenizer.json-cut")
]


def bomb_header(count: int) -> bytes:
    header = {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(count)}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def replacement(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


DOUBLING = {"type": "Sequence", "normalizers": [replacement("a", "aa")] * 32}
FIXED = {
    "strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1,
    "pad_type_id": 0, "pad_token": "<pad>",
}  # fmt: skip
BOMBS = [
    of_model(f"{verb}-tokenizer-{name}", change("tokenizer.json", **fields), says=("tokenizer.json", part),
        command=command, source="{tuned}/model")
    for verb, command in (("predict", PREDICT), ("tune", TUNE))
    for name, fields, part in (
        ("doubling", {"normalizer": DOUBLING}, "normalizer"),
        ("of-10-mb", {"normalizer": replacement("a", "b" * 10_000_000)}, "normalizer"),
        ("id-of-1e9", {"post_processor__sep": ["</s>", 10**9]}, "post_processor"),
    )
    if verb == "predict" or name == "doubling"
] + [
    of_model("predict-tokenizer-padding-1e9", change("tokenizer.json", padding=FIXED), says=("1 row",),
        command=PREDICT, source="{tuned}/model", status=(0,)),
    of_model("info-a-million-tensors", put("model.safetensors", lambda path, names:
        path.write_bytes(bomb_header(1_000_000))), says=("model.safetensors",)),
    of_model("predict-a-million-tensors", put("model.safetensors", lambda path, names:
        path.write_bytes(bomb_header(1_000_000))), says=("model.safetensors",), command=PREDICT),
    of_model("predict-vocabulary-of-another", put("tokenizer.json", copied("{ready}/other-tokenizer.json")),
        says=("tokenizer.json",), command=PREDICT, source="{tuned}/model"),
]  # fmt: skip


def grid_of_256(path: Path, names: Names) -> None:
    change("config.json", vision__image_size=4096, vision__patch_size=16)(path, names)
    change("preprocessing.json", image_size=4096)(path, names)


def other_patches(path: Path, names: Names) -> None:
    change("config.json", vision__image_size=40, vision__patch_size=8)(path, names)
    change("preprocessing.json", image_size=40)(path, names)


PROVENANCE = [
    of_model(f"{verb}-provenance-{name}", edit, says=("provenance.json",), command=command, source="{tuned}/model")
    for verb, command in (("predict", PREDICT), ("tune", TUNE))
    for name, edit in (
        ("deep", put("provenance.json", '{"a": ' + "[" * 900 + "]" * 900 + "}")),
        ("init-is-a-text", change("provenance.json", init="x")),
        ("fresh-is-a-number", change("provenance.json", fresh=5)),
        ("minutes-are-a-text", change("provenance.json", position={"minutes": "x"})),
    )
] + [
    of_model(f"{verb}-config-of-a-grid-of-256", grid_of_256, says=("config.json", "patches"), command=command,
        source="{tuned}/model")
    for verb, command in (("predict", PREDICT), ("tune", TUNE))
] + [
    of_model(f"{verb}-weights-{name}", put(file, content), says=(file,), command=command, source=source)
    for verb, command, source in (
        ("score", "evaluate m --test {rows} --out out --quiet", "{tuned}/model"),
        ("evaluate", "evaluate m --world {world} --scale 0.02 --parts retrieval --out out --quiet", "{model}"),
        ("probe", "evaluate m --train {pictures} --test {pictures} --out out", "{model}"),
    )
    for name, file, content in (
        ("fifo", "model.safetensors", fifo),
        ("device", "model.safetensors", ENDLESS),
        ("of-1-tib", "model.safetensors", sparse(1 << 40, (2).to_bytes(8, "little") + b"{}")),
    )
] + [
    of_model(f"score-another-file-{name}", put("more.safetensors", content), says=("more.safetensors",),
        command="evaluate m --test {rows} --out out --quiet", source="{tuned}/model")
    for name, content in (("fifo", fifo), ("device", ENDLESS), ("dangling", DANGLING), ("folder", folder))
]  # fmt: skip
ADDED = "adapter_model.safetensors"
APART = [
    of_model(f"{verb}-{name}", edit, says=says, command=command, source="{apart}/model")
    for verb, command in (("predict", PREDICT), ("merge", "export m out --format merged"))
    for name, edit, says in (
        ("adapter-cut", cut("adapter.json"), ("adapter.json",)),
        ("adapter-fifo", put("adapter.json", fifo), ("adapter.json",)),
        ("adapter-base-is-itself", change("adapter.json", base="m"), ("is an adapter itself",)),
        ("adapter-base-is-nowhere", change("adapter.json", base="/nowhere"), ("/nowhere", "--base")),
        ("adapter-base-is-a-device", change("adapter.json", base="/dev/zero"), ("/dev/zero", "--base")),
        ("adapter-rank-1e9", change("adapter.json", rank=10**9), ("adapter.json", "rank")),
        ("adapter-alpha-1e400", change("adapter.json", alpha=10**400), ("adapter.json", "alpha")),
        ("adapter-config-of-other-patches", other_patches, ("config.json", "another model")),
        ("adapter-config-of-a-grid-of-256", grid_of_256, ("config.json", "patches")),
        ("adapter-of-other-weights", change("adapter.json", weights="0"), ("other weights",)),
        ("additions-cut", cut(ADDED), (ADDED,)),
        ("additions-fifo", put(ADDED, fifo), (ADDED,)),
        ("additions-of-a-pickle", put(ADDED, b"\x80\x02cos\nsystem\n(S'touch hacked'\ntR."), (ADDED,)),
        ("additions-a-million", put(ADDED, lambda path, names: path.write_bytes(bomb_header(1_000_000))), (ADDED,)),
        ("changed-a-device", put("changed.safetensors", ENDLESS), ("changed.safetensors",)),
        ("head-gone", drop("task.safetensors"), ("task.safetensors",)),
    )
]  # fmt: skip
EVIL = b"\x80\x02cos\nsystem\n(S'touch hacked'\ntR."
PUBLISHED = [
    Situation(f"{verb}-published-{name}", f"{command}", {"a.th": content}, ("a.th",))
    for verb, command in (("convert", "convert a.th out"), ("info", "info a.th"))
    for name, content in {
        "evil": EVIL,
        "cut": copied("{published}", cut("", 0.2)),
        "flipped": copied("{published}", flip("", 0.01)),
        "empty": b"",
        "fifo": fifo,
        "device": ENDLESS,
        "folder": folder,
        "zip-of-nothing": b"PK\x05\x06" + bytes(18),
    }.items()
]
PLACES = [
    Situation("info-a-folder-of-nothing", "info m", {"m": folder}, ("m",)),
    Situation("info-a-table", "info {rows}", says=("rows.csv",)),
    Situation("info-two-one-bad", "info {model} nowhere/model", says=("nowhere/model",)),
    Situation("predict-model-is-a-file", "predict embed --model {rows} --input {rows} --out o.jsonl", says=("rows",)),
    Situation("evaluate-nothing", "evaluate nowhere --world {world} --out out", says=("nowhere",)),
    Situation("export-nothing", "export nowhere out.th", says=("nowhere",)),
    Situation("init-of-own-model", "init --language {model} --vision {model} out", says=("model",),
        env={"HF_HUB_OFFLINE": "1"}),
    Situation("info-through-a-link", "info m", {"m": link("{model}")}, ("parameters",), status=(0,)),
]  # fmt: skip
SITUATIONS = [*KINDS, *DAMAGED, *BOMBS, *PROVENANCE, *APART, *PUBLISHED, *PLACES]
