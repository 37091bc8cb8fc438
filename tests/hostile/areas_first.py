"""Tables that are no tables."""

from tests.hostile.situation import ENDLESS, Situation, fifo, folder, loop

TUNE = "finetune text-classification --model {model} --steps 1 --out out --quiet --train"
PREDICT = "predict text-classification --model {tuned}/model --out out.jsonl --quiet --input"


def _each(kind: str) -> list[Situation]:
    file = f"rows.{kind}"
    cases = {
        "empty": b"",
        "zeros": b"\0" * 5000,
        "noise": bytes(range(256)) * 20,
        "fifo": fifo,
        "device": ENDLESS,
        "folder": folder,
        "loop": loop,
    }
    return [
        Situation(f"{verb}-{kind}-{name}", f"{command} {file}", {file: content}, (file,), quick=quick)
        for verb, command in (("finetune", TUNE), ("predict", PREDICT))
        for name, content in cases.items()
        for quick in [(verb, kind, name) in {("finetune", "csv", "fifo"), ("predict", "parquet", "zeros")}]
    ]


SITUATIONS = [*_each("csv"), *_each("jsonl"), *_each("parquet")]
