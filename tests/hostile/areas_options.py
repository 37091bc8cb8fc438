"""Options that nobody means: negative, endless, no numbers, empty, of any length, misspelt, contradictory."""

from tests.hostile.situation import Situation

TUNE = "finetune text-classification --model {model} --train {rows} --out out --quiet"
PREDICT = "predict text-classification --model {tuned}/model --input {lines} --out out.jsonl --quiet"
PRETRAIN = "pretrain --recipe {recipe} --out out --quiet"
EVALUATE = "evaluate {model} --world {world} --out out --quiet"


def _values(verb: str, command: str, option: str, values: tuple[str, ...]) -> list[Situation]:
    return [
        Situation(
            f"{verb}-{option.strip('-')}-{value[:12] or 'empty'}",
            "",
            says=(option.strip("-").split(".")[-1],),
            words=(*command.split(), f"{option}={value}"),
        )
        for value in values
    ]


LONG = "9" * 5000
LAUGHS = "a0: &a0 [x, x], " + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}], " for n in range(1, 10)
)
VALUES = [
    *_values("tune", TUNE, "--steps", ("nan", "1e99", "", "three", LONG)),
    *_values("tune", TUNE, "--lr", ("-1", "nan", "1e999")),
    *_values("tune", TUNE, "--workers", ("1000000",)),
    *_values("tune", TUNE, "--time-limit", ("inf", "soon", LONG)),
    *_values("tune", TUNE, "--class-weights", ("warm=1e999", f"{{warm: {LONG[:400]}}}", "{" * 3000)),
    *_values("tune", TUNE, "--class-weights", (f"{{{LAUGHS}warm: *a9}}",)),
    *_values("tune-labels", f"{TUNE} --multi-label", "--threshold", ("2", "nan")),
    *_values("predict", PREDICT, "--batch-size", ("-1", "nan")),
    *_values("predict", PREDICT, "--device", ("tpu:99", "cuda:77")),
    *_values("pretrain", PRETRAIN, "--training.steps", ("nan", LONG)),
    *_values("pretrain", PRETRAIN, "--model.vision.width", ("0", "1000000000")),
    *_values("pretrain", PRETRAIN, "--data.workers", ("-1", "1000000")),
    *_values("evaluate", EVALUATE, "--scale", ("nan", "inf")),
    *_values("evaluate", EVALUATE, "--parts", ("\u202ereversed", "a,,b")),
    *_values("prepare", "prepare --out out", "--image_size", ("1", "1000000")),
    *_values("quickstart", "quickstart --out out", "--budget", ("nan", "x")),
    *_values("plan", "plan", "--gpus", ("0", "99999999999")),
    *_values("plan", "plan", "--recipe", ("nothing", "/dev/zero.yaml")),
]
WORDS = [
    Situation("no-such-command", "finetunes", says=("finetune",)),
    Situation("nothing-at-all", "", says=("COMMAND",), status=(0,), words=()),
    Situation("unicode-in-a-name", "", says=("nowhere",), words=("info", "nowhere/\u202e\u0000"[:-1])),
    Situation("name-of-5000-letters", "", says=("too long",), words=("info", "a/" + "x" * 5000)),
    Situation("out-of-5000-letters", "", says=("xxx",), words=(*TUNE.replace("--out out", "--out " + "x" * 5000).split(),)),
    Situation("line-break-in-a-name", "", says=("a\\nb",), words=("info", "./a\nb")),
    Situation("brackets-in-a-root", "pretrain --recipe {recipe} --root w[1] --out out", says=("w[1]",)),
    Situation("columns-nonsense", f"{TUNE} --columns ===", says=("--columns",)),
    Situation("keep-of-nothing", f"{PREDICT} --keep nothing", says=("nothing",), status=(0,)),
    Situation("environment-nonsense", "pretrain --recipe {recipe} --out out", says=("steps",),
        env={"XFM_PRETRAIN_TRAINING__STEPS": "many"}),
    Situation("list-that-holds-itself", "", says=("betas",),
        words=(*PRETRAIN.split(), "--training.optim.betas=&a [*a, *a]")),
]  # fmt: skip
SITUATIONS = [*VALUES, *WORDS]
