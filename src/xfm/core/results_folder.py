"""Whose results a folder holds: no command replaces those of another command, model or data.

A command asks with `require_free` before any work, and signs the folder with `sign` before its first result.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError, require_memory
from xfm.core.files import file_digest, read_json_or_nothing, read_text, reading, write_text, writing

MADE_BY = "made_by.json"
DETAILS = "evaluation.json"
RESULTS = ("metrics.json", "report.html", DETAILS, "probe.json", "results.md", "parts")
RESULTS += ("doctor.json", "ablation.md")
"""What commands write about a model or data, beside one another's if nobody kept them apart."""


@dataclass(frozen=True)
class ResultOrigin:
    """A command and what it works on: digests or names by kind (`model`, `data`), of which those that two
    makers share are compared, and the subject in words."""

    command: str
    subject: Mapping[str, str] = field(default_factory=dict)
    about: str = ""

    def made(self, other: "ResultOrigin") -> bool:
        """Whether the other one is the same command on the same subject."""
        return bool(self.command) and self.command == other.command and not self.differences(other)

    def differences(self, other: "ResultOrigin") -> list[str]:
        """What of the subject both name, and differently."""
        common = self.subject.keys() & other.subject.keys()
        return [name for name in self.subject if name in common and self.subject[name] != other.subject[name]]

    def __str__(self) -> str:
        made = f"`xfm {self.command}`" if self.command else "an unknown command"
        return f"{made} ({self.about})" if self.about else made


PRETRAINED = ResultOrigin("pretrain")


def require_free(out: Path, maker: ResultOrigin, model: Path | None = None) -> None:
    """Refuse by UserError a folder that holds what another command, or the same one on another subject, has
    made; results may stand beside the `model` that they are of, in the folder of its run."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder, such as --out {free_name(out)}")
    if (found := holding(out)) is None:
        return
    what, before = found
    beside = before == PRETRAINED and model is not None and out.resolve() in model.resolve().parents
    if beside or (before is not None and before.made(maker)):
        return
    if before is not None and before.command == maker.command:
        what += f", of another {' and '.join(before.differences(maker))}"
    raise UserError(f"{out} holds {what}: give another folder, such as --out {free_name(out)}")


def holding(out: Path) -> tuple[str, ResultOrigin | None] | None:
    """What a folder holds in words, and its maker (None of a model folder); None where it holds neither
    results nor a run, a model or a world."""
    signed = signed_by(out)
    if any((out / name).exists() for name in RESULTS):
        maker = signed or ResultOrigin("")
        return f"results of {maker}", maker
    for name in ("world", "corpus"):
        if (out / f"{name}.json").exists():
            return f"a {name} of `xfm prepare`", ResultOrigin("prepare")
    if (out / "config.json").exists():
        return "a model", None
    if not any((out / name).is_dir() and any((out / name).iterdir()) for name in ("checkpoints", "model")):
        return None
    try:
        settings = read_text(out / "config.yaml").splitlines()
    except (OSError, ValueError):
        settings = []
    tuned = (out / "model" / "task.json").exists() or "finetune:" in settings
    trained = ResultOrigin("finetune") if tuned else PRETRAINED
    maker = signed if signed and signed.command == "finetune" else trained
    return f"a run of {maker}", maker


def run_of(model: Path) -> Path:
    """The folder of the run that a model folder, or a checkpoint, belongs to."""
    return model.parent.parent if model.parent.name == "checkpoints" else model.parent


def require_new_model(folder: Path, made: Mapping[str, Any]) -> None:
    """Refuse to write a model over anything but the same command's on the same input (`made`)."""
    if folder == unused(folder):
        return
    before, is_model = read_json_or_nothing(folder / "provenance.json"), (folder / "config.json").exists()
    if is_model and all(before.get(name) == made[name] for name in made):
        return
    what = "another model" if is_model else "something else than a model"
    raise UserError(f"{folder} holds {what}: name another folder, such as {free_name(folder)}")


def require_run_folder(folder: Path, resume: bool) -> None:
    """Refuse by UserError to pre-train in a folder that holds anything but a pre-training and the evaluation
    beside it. Only `resume` touches a run with checkpoints; without any, its model is not replaced by a new
    run's."""
    if (found := holding(folder)) is None:
        return
    what, maker = found
    evaluated = maker is not None and maker.command == "evaluate" and (folder / "config.yaml").exists()
    if not (maker == PRETRAINED or evaluated) or not (resume or (folder / "checkpoints").exists()):
        raise UserError(f"{folder} holds {what}: give another folder, such as --out {free_name(folder)}")


def sign(out: Path, maker: ResultOrigin) -> dict[str, Any]:
    """Write down who makes the results of a folder, and return it for the details."""
    signature = asdict(maker)
    with writing(out, "or choose another folder"):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / MADE_BY, json.dumps(signature, indent=2, ensure_ascii=False) + "\n")
    return signature


def free_name(out: Path) -> Path:
    """A folder or file beside `out` that does not exist, named after it."""
    ending = out.suffix if out.is_file() else ""
    number = 2
    while (found := out.with_name(f"{out.name.removesuffix(ending)}-{number}{ending}")).exists():
        number += 1
    return found


def unused(out: Path) -> Path:
    """The folder itself if it is not there or empty, else one beside it."""
    taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    return free_name(out) if taken else out


def digest(rows: Iterable[Any]) -> str:
    """A short digest of typed rows, by which data are known again."""
    found = sha256()
    for row in rows:
        found.update(repr(row).encode("utf-8", "surrogatepass"))
    return found.hexdigest()[:16]


def model_mark(model: Path) -> str:
    """A digest of the weights of a model folder or published file; empty where there are none."""
    if model.is_file():
        return model_digest(model)[:16]
    files = sorted(model.glob("*.safetensors"))
    return sha256("".join(map(model_digest, files)).encode()).hexdigest()[:16] if files else ""


def model_digest(path: Path) -> str:
    """Sha256 of a model's file in hexadecimal; raises UserError if missing or larger than memory."""
    with reading(path, "copy it again"):
        require_memory(path, path.stat().st_size)
        return file_digest(path)


def world_mark(world: Path) -> str:
    """By what a world is known again: the digest of its manifest, else its place."""
    manifest = world / "world.json"
    return file_digest(manifest) if manifest.is_file() else str(world.absolute())


def signed_by(out: Path) -> ResultOrigin | None:
    """Who signed a folder; None if nobody did."""
    found = read_json_or_nothing(out / MADE_BY)
    command, subject = found.get("command"), found.get("subject")
    if not isinstance(command, str) or not isinstance(subject, dict):
        return None
    return ResultOrigin(
        command, {str(n): str(value) for n, value in subject.items()}, str(found.get("about", ""))
    )
