"""Places that cannot be written or are in use, streams that are closed, other environments, small memories."""

from tests.hostile.running import interrupt
from tests.hostile.situation import Situation, copied, fifo, folder, link, loop

TUNE = "finetune text-classification --model {model} --train {rows} --steps 1 --quiet --out"
PREDICT = "predict text-classification --model {tuned}/model --input {lines} --quiet --out"
OWN_INPUT = "predict text-classification --model {tuned}/model --input a.jsonl --out"
PRETRAIN = "pretrain --recipe {recipe} --quiet --out"
EVALUATE = "evaluate {model} --world {world} --scale 0.02 --parts retrieval --quiet --out"
WRITERS = {
    "finetune": TUNE,
    "predict": PREDICT,
    "pretrain": PRETRAIN,
    "evaluate": EVALUATE,
    "convert": "convert {published}",
    "export": "export {model}",
    "prepare": "prepare --scale 0.004 --objects 100 --heldout_objects 6 --vocab_size 400 --out",
}
FILE_OUT = {"predict", "export"}
READ_ONLY = 'mount -t tmpfs -o size=1m tmpfs out && mount -o remount,ro out && exec "$@"'
SMALL = 'mount -t tmpfs -o size=200k tmpfs out && exec "$@"'


def unshared(script: str) -> str:
    return f"unshare -m bash -c '{script}' hostile \"$@\""


def _out(verb: str) -> str:
    return f"{WRITERS[verb]} out/{'a.jsonl' if verb in FILE_OUT else 'a'}"


TAKEN = [
    Situation(f"{verb}-onto-{name}", f"{command} o", {"o": content}, ("o",))
    for verb, command in WRITERS.items()
    for name, content in (
        ("a-device" if verb in FILE_OUT else "a-file", link("/dev/full") if verb in FILE_OUT else "mine"),
        (
            "a-folder" if verb in FILE_OUT else "other-things",
            lambda path, names: (path.mkdir(), (path / "letter.txt").write_text("mine")),
        ),
        ("fifo", fifo),
        ("loop", loop),
    )
    # A folder of other things may well get a run beside them.
    if name != "other-things" or verb in {"convert", "prepare"}
]
FULL = [
    Situation(f"{verb}-full-disk", _out(verb), {"out": folder}, ("full",), shell=unshared(SMALL), unshare=True)
    for verb in WRITERS
    if verb not in {"predict", "evaluate", "export"}
] + [
    Situation("export-full-disk", "export {model} out/m.th", {"out": folder}, ("full",), shell=unshared(SMALL),
        unshare=True),
] + [
    Situation(f"{verb}-read-only", _out(verb), {"out": folder}, ("out",), shell=unshared(READ_ONLY), unshare=True)
    for verb in WRITERS
] + [
    Situation(f"{verb}-files-limited", f"{WRITERS[verb]} a", shell='ulimit -f 20; "$@"', says=("a",))
    for verb in ("finetune", "pretrain", "convert", "export")
] + [
    Situation("predict-full-disk", "predict embed --model {model} --input in.jsonl --out out/a.jsonl --quiet",
        {"out": folder, "in.jsonl": '{"text": "a red circle"}\n' * 2000}, ("full",), shell=unshared(SMALL),
        unshare=True),
    Situation("pretrain-small-shm", f"{PRETRAIN} a --data.workers 2", shell=unshared(
        'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"'), unshare=True, status=(0, 2), seconds=240),
    Situation("pretrain-memory-limited", f"{PRETRAIN} a", shell='ulimit -v 1500000; "$@"', status=(0, 2)),
    Situation("pretrain-few-files", f"{PRETRAIN} a --data.workers 2", shell='ulimit -n 24; "$@"', status=(0, 2)),
]  # fmt: skip
SAME = [
    Situation("predict-onto-its-input", f"{OWN_INPUT} a.jsonl", {"a.jsonl": copied("{lines}")}, ("a.jsonl",)),
    Situation("predict-into-the-model", f"{PREDICT} m/config.json --restart", {"m": copied("{model}")}, ("config.json",)),
    Situation("convert-onto-its-input", "convert a.th a.th", {"a.th": copied("{published}")}, ("a.th",)),
    Situation("export-onto-its-model", "export m m", {"m": copied("{model}")}, ("m",)),
    Situation("export-onto-the-weights", "export m m/model.safetensors", {"m": copied("{model}")},
        ("model.safetensors",)),
    Situation("finetune-into-its-model", "finetune text-classification --model m --train {rows} --out m --steps 1",
        {"m": copied("{model}")}, ("m",)),
    Situation("merge-onto-its-adapter", "export a/model a/model --format merged", {"a": copied("{apart}")}, ("a/model",)),
    Situation("merge-onto-its-base", "export {apart}/model m --format merged", {"m": copied("{model}")}, ("m",)),
    Situation("finetune-into-an-adapter", "finetune text-classification --model a/model --train {rows} --out a/model "
        "--steps 1", {"a": copied("{apart}")}, ("a/model",)),
    Situation("pretrain-twice", f"{PRETRAIN} r", {"r": copied("{run}")}, ("r",)),
    Situation("prepare-onto-another-world", "prepare --out w --scale 0.003 --objects 100 --heldout_objects 6",
        {"w": copied("{world}")}, ("w",)),
    Situation("quickstart-into-a-finetuning", "quickstart --smoke --out t", {"t": copied("{tuned}")}, ("t",)),
]  # fmt: skip
STREAMS = [
    Situation(f"{verb}-{name}", command, shell=shell, status=status, silent=True, env=env,
        changes=("out/",))  # what was saved stays, though its last lines could not be shown
    for verb, command in (("info", "info {model}"), ("finetune", f"{TUNE} out"), ("predict", f"{PREDICT} o.jsonl"))
    for name, shell, status, env in (
        ("head", 'set -o pipefail; "$@" | head -c 1 > /dev/null', (0, 2, 141), {}),
        ("stdout-full", '"$@" > /dev/full', (0, 2), {}),
        ("stderr-full", '"$@" 2> /dev/full', (0, 2), {}),
        ("stdout-closed", '"$@" >&-', (0, 2), {}),
        ("stderr-closed", '"$@" 2>&-', (0, 2), {}),
        ("stdin-closed", '"$@" <&-', (0,), {}),
        ("ascii", '"$@"', (0,), {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}),
    )
]  # fmt: skip
ENVIRONMENT = [
    Situation("finetune-no-home", f"{TUNE} out", env={"HOME": None}, status=(0,), silent=True),
    Situation("finetune-tmpdir-nowhere", f"{TUNE} out", env={"TMPDIR": "/nowhere"}, status=(0, 2), silent=True),
    Situation("finetune-torchrun", f"{TUNE} out", says=("waits at 127.0.0.1:29533", "without torchrun"),
        during=interrupt("torchrun"), status=(130,),
        env={"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533"}),
    Situation("pretrain-rank-nonsense", f"{PRETRAIN} out", says=("RANK",), env={"RANK": "x", "WORLD_SIZE": "2"}),
    Situation("pretrain-rank-beyond", f"{PRETRAIN} out", says=("RANK",),
        env={"RANK": "5", "WORLD_SIZE": "2", "LOCAL_RANK": "5", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29534"}),
    Situation("predict-no-threads", f"{PREDICT} o.jsonl", env={"OMP_NUM_THREADS": "nonsense"}, status=(0,)),
]  # fmt: skip
SITUATIONS = [*TAKEN, *FULL, *SAME, *STREAMS, *ENVIRONMENT]
