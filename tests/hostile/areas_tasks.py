"""Tasks whose cells hold lists (labels, boxes, texts), and folders of models that lie about their labels."""

import json
from typing import Any

from tests.hostile.situation import Situation, change, copied, drop

TEXTS = "finetune text-classification --model {model} --steps 1 --out out --quiet --multi-label --train"
PAIRS = "finetune sentence-similarity --model {model} --steps 1 --out out --quiet --train"
BOXES = "finetune grounding --model {model} --steps 1 --out out --quiet --train"


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# ---------------------------------------------------------------- several labels
GOOD = [{"text": f"a {word} {number}", "label": [word]} for number in range(9) for word in ("red", "blue")]
LABELS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "without-end": ([f"n{number}" for number in range(200_000)], ("a.jsonl:1", "200000 labels")),
    "in-lists": ([["red"], ["blue"]], ("a.jsonl:1", "label")),
    "in-an-object": ({"red": True}, ("a.jsonl:1", "label")),
    "of-half-characters": (["\ud800"], ("a.jsonl:1", "not Unicode")),
    "of-a-number-without-end": ([10**4000], ("a.jsonl:1", "label")),
    "of-nan": ([float("nan"), float("inf")], ()),
    "of-control-characters": (["\x1b[2J\r\x00", "\u202ered"], ()),
    "of-a-book": (["x" * 3_000_000, "red"], ()),
}
OF_ROWS = [
    Situation(f"tune-labels-{name}", f"{TEXTS} a.jsonl", {"a.jsonl": lines([{"text": "a", "label": cell}, *GOOD])}, says,
        status=(2,) if says else (0,), changes=() if says else ("out",))
    for name, (cell, says) in LABELS.items()
] + [
    Situation("tune-labels-nowhere", f"{TEXTS} a.jsonl", {"a.jsonl": lines([{**row, "label": []} for row in GOOD])},
        ("a.jsonl", "at least two")),
    Situation("tune-labels-all-the-same", f"{TEXTS} a.jsonl",
        {"a.jsonl": lines([{**row, "label": ["red"]} for row in GOOD])}, ("a.jsonl", "at least two")),
    Situation("tune-labels-each-its-own", f"{TEXTS} a.jsonl",
        {"a.jsonl": lines([{**row, "label": [str(place)]} for place, row in enumerate(GOOD * 3)])}, ("a.jsonl", "label")),
    Situation("score-labels-unknown", "evaluate {several}/model --test a.jsonl --out out --quiet",
        {"a.jsonl": lines([{"text": "a", "label": ["never"]}] * 5)}, ("never",)),
]  # fmt: skip
ASK = "predict text-classification --model m --input {rows} --out o.jsonl --quiet"
SCORE = "evaluate m --test {labelled} --out out --quiet"
LIES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "threshold-nan": (change("task.json", threshold=float("nan")), ("task.json", "threshold")),
    "threshold-2": (change("task.json", threshold=2), ("task.json", "threshold")),
    "threshold-a-text": (change("task.json", threshold="0.5"), ("task.json", "threshold")),
    "labels-of-another-number": (change("task.json", labels=["a", "b"]), ("task.json", "labels")),
    "labels-twice": (change("task.json", labels=["a"] * 5), ("task.json", "labels")),
    "classes-1e7": (change("task.json", classes=10**7, labels=[]), ("task.safetensors", "task.json")),
    "classes-1e12": (change("task.json", classes=10**12, labels=[]), ("task.json", "classes")),
    "classes-negative": (change("task.json", classes=-1, labels=[]), ("task.json", "classes")),
    "several-of-one-class": (change("task.json", classes=1, labels=["a"]), ("task.json", "several")),
    "kind-of-labels": (change("task.json", label_kind="many"), ("task.json", "label_kind")),
    "kind-of-task": (change("task.json", kind="grounding"), ("task.json", "grounding")),
    "head-gone": (drop("task.safetensors"), ("task.safetensors",)),
    "tokens-1e12": (change("task.json", max_tokens=10**12), ()),
}
OF_MODELS = [
    Situation(f"{verb}-several-{name}", command, {"m": copied("{several}/model", edit)}, says,
        status=(2,) if says else (0,))
    for verb, command in (("predict", ASK), ("score", SCORE))
    for name, (edit, says) in LIES.items()
]  # fmt: skip

# ---------------------------------------------------------------- pairs of texts
TWO = [{"anchor": f"what is {number}", "positive": f"it is {number}"} for number in range(20)]
NEGATIVES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "without-end": ({"negative": ["x"] * 100_000}, ("a.jsonl:1", "negative")),
    "more-than-a-batch-holds": ({"negative": [str(n) for n in range(300)]}, ("a.jsonl:1", "300 texts")),
    "in-an-object": ({"negative": {"a": "b"}}, ("a.jsonl:1", "negative")),
    "in-lists": ({"negative": [["a"]]}, ("a.jsonl:1", "negative")),
    "that-are-positive": ({"negative": ["b", "a"], "positive": "b"}, ("a.jsonl:1", "negative")),
    "of-half-characters": ({"negative": ["\ud800"]}, ("a.jsonl:1", "negative")),
    "blank": ({"positive": " \u00a0"}, ("a.jsonl:1", "positive")),
    "of-a-book": ({"negative": ["word " * 500_000]}, ()),
}
OF_PAIRS = [
    Situation(f"tune-pairs-{name}", f"{PAIRS} a.jsonl", {"a.jsonl": lines([{**TWO[0], **cells}, *TWO])}, says,
        status=(2,) if says else (0,), changes=() if says else ("out",))
    for name, (cells, says) in NEGATIVES.items()
] + [
    Situation("tune-pairs-all-the-same", f"{PAIRS} a.jsonl", {"a.jsonl": lines(TWO[:1] * 40)}, ("No difference",),
        status=(0,)),
    Situation("tune-pairs-of-one-row", f"{PAIRS} a.jsonl", {"a.jsonl": lines(TWO[:1])}, ("a.jsonl", "too few")),
    Situation("tune-pairs-fifo-beside", f"{PAIRS} a.jsonl --validation b.jsonl --test b.jsonl",
        {"a.jsonl": lines(TWO), "b.jsonl": lines([{"anchor": "a"}])}, ("b.jsonl:1", "positive")),
    Situation("predict-pairs-of-a-book", "predict sentence-similarity --model {model} --input a.jsonl --out o.jsonl --quiet",
        {"a.jsonl": lines([{"anchor": "word " * 700_000, "positive": "a"}])}, ("1 row",), status=(0,)),
]  # fmt: skip

# ---------------------------------------------------------------- several boxes a phrase
BOX = [2, 3, 20, 20]
REFERENCES = [{"image": "p.jpg", "text": f"the {number}", "box": BOX} for number in range(20)]
CELLS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "without-end": ([BOX] * 100_000, ("a.jsonl:1", "more than 256")),
    "none": ([], ("a.jsonl:1", "box")),
    "one-of-nothing": ([BOX, []], ("a.jsonl:1", "box")),
    "one-of-three-numbers": ([BOX, [1, 2, 3]], ("a.jsonl:1", "box 2 of 2")),
    "without-area": ([BOX, [1, 2, 0, 5]], ("a.jsonl:1", "box 2 of 2", "no area")),
    "of-nan": ([BOX, [float("nan")] * 4], ("a.jsonl:1", "box")),
    "beyond-all-numbers": ([BOX, [0, 0, 10**400, 1]], ("a.jsonl:1", "box")),
    "of-1e308": ([BOX, [0, 0, 1e308, 1e308]], ("a.jsonl:1", "box 2 of 2")),
    "in-deep-lists": (json.loads("[" * 300 + "]" * 300), ("a.jsonl:1", "box")),
    "in-an-object": ({"left": 1}, ("a.jsonl:1", "box")),
    "as-an-open-text": ("[" * 100_000, ("a.jsonl:1", "box")),
}
OF_BOXES = [
    Situation(f"tune-boxes-{name}", f"{BOXES} a.jsonl", {"p.jpg": copied("{photos}/warm/0.jpg"),
        "a.jsonl": lines([{**REFERENCES[0], "box": cell}, *REFERENCES])}, says)
    for name, (cell, says) in CELLS.items()
]  # fmt: skip
SITUATIONS = [*OF_ROWS, *OF_MODELS, *OF_PAIRS, *OF_BOXES]
