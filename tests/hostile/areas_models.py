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
]
DAMAGED = [
    of_model(f"predict-{name}", edit, says=(name.split("-")[0],), command=PREDICT, source="{tuned}/model")
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
    of_model(f"predict-tokenizer-{name}", change("tokenizer.json", **fields), says=("tokenizer.json", part),
        command=PREDICT, source="{tuned}/model")
    for name, fields, part in (
        ("doubling", {"normalizer": DOUBLING}, "normalizer"),
        ("of-10-mb", {"normalizer": replacement("a", "b" * 10_000_000)}, "normalizer"),
        ("id-of-1e9", {"post_processor__sep": ["</s>", 10**9]}, "post_processor"),
    )
] + [
    of_model("predict-tokenizer-padding-1e9", change("tokenizer.json", padding=FIXED), says=("1 row",),
        command=PREDICT, source="{tuned}/model", status=(0,)),
    of_model("info-a-million-tensors", put("model.safetensors", lambda path, names:
        path.write_bytes(bomb_header(1_000_000))), says=("model.safetensors",)),
    of_model("predict-vocabulary-of-another", put("tokenizer.json", copied("{ready}/other-tokenizer.json")),
        says=("tokenizer.json",), command=PREDICT, source="{tuned}/model"),
]  # fmt: skip


def grid_of_256(path: Path, names: Names) -> None:
    change("config.json", vision__image_size=4096, vision__patch_size=16)(path, names)
    change("preprocessor_config.json", image_size=4096)(path, names)


WEIGHTS = [
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
]  # fmt: skip
ADDED = "adapter_model.safetensors"
APART = [
    of_model(f"predict-{name}", edit, says=says, command=PREDICT, source="{apart}/model")
    for name, edit, says in (
        ("adapter-fifo", put("adapter.json", fifo), ("adapter.json",)),
        ("adapter-base-is-itself", change("adapter.json", base="m"), ("is an adapter itself",)),
        ("adapter-base-is-a-device", change("adapter.json", base="/dev/zero"), ("/dev/zero", "--base")),
        ("adapter-rank-1e9", change("adapter.json", rank=10**9), ("adapter.json", "rank")),
        ("adapter-config-of-a-grid-of-256", grid_of_256, ("config.json", "patches")),
        ("adapter-of-other-weights", change("adapter.json", weights="0"), ("other weights",)),
        ("additions-of-a-pickle", put(ADDED, b"\x80\x02cos\nsystem\n(S'touch hacked'\ntR."), (ADDED,)),
        ("additions-a-million", put(ADDED, lambda path, names: path.write_bytes(bomb_header(1_000_000))), (ADDED,)),
        ("changed-a-device", put("changed.safetensors", ENDLESS), ("changed.safetensors",)),
    )
]  # fmt: skip
EVIL = b"\x80\x02cos\nsystem\n(S'touch hacked'\ntR."
PUBLISHED = [
    Situation(f"convert-published-{name}", "convert a.th out", {"a.th": content}, ("a.th",))
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
    Situation("info-two-one-bad", "info {model} nowhere/model", says=("nowhere/model",)),
    Situation("init-of-own-model", "init --language {model} --vision {model} out", says=("model",),
        env={"HF_HUB_OFFLINE": "1"}),
    Situation("info-through-a-link", "info m", {"m": link("{model}")}, ("parameters",), status=(0,)),
]  # fmt: skip
SITUATIONS = [*KINDS, *DAMAGED, *BOMBS, *WEIGHTS, *APART, *PUBLISHED, *PLACES]
