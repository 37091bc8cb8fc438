"""A function over numbered units of work, whose files and completion marks lie in a folder of all processes.
A unit depends on its number alone, and its mark is written when its files are whole: one that is done twice,
by whomever, is done once, and whatever is killed, the missing units are done by the next run."""

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from xfm.config.plain import to_plain
from xfm.config.typed import from_plain
from xfm.core.errors import UserError, explained
from xfm.core.files import MAX_LOG, read_json_object, read_text, sync_folder, write_text, writing
from xfm.core.locks import locked
from xfm.executors.executor import Executor

AGAIN = "and run the same command again: it goes on where it stopped"
PLAN = "plan"
_PLAN_FILE = "plan.json"

M = TypeVar("M")
T = TypeVar("T")


@dataclass(frozen=True)
class ShardedMap(Generic[M]):
    """Units of work in the folder `name` of `work`, whose plan lies in `PLAN`. `function` does a unit, given
    its number and the path of its files without suffix, and writes them whole or not at all; its result, a
    dataclass `mark`, says that it is done."""

    work: Path
    name: str
    count: int
    mark: type[M]
    function: Callable[[int, Path], M]

    @property
    def folder(self) -> Path:
        """The folder of files and marks."""
        return self.work / self.name

    def file(self, number: int, suffix: str) -> Path:
        """A file of a unit; its completion mark is `.json`."""
        return self.folder / f"{number:06d}{suffix}"

    def is_done(self, number: int) -> bool:
        """Whether a unit's mark is there."""
        return self.file(number, ".json").exists()

    @property
    def missing(self) -> list[int]:
        """The units that are not done."""
        return [number for number in range(self.count) if not self.is_done(number)]

    def marks(self) -> Iterator[M]:
        """The marks of the units that are done, in order; raises UserError."""
        for number in range(self.count):
            if self.is_done(number):
                remedy = "remove it, and run the command again"
                yield read_record(self.file(number, ".json"), self.mark, remedy)

    def __call__(self, number: int) -> M:
        """Do a unit; raises UserError where the folder cannot be written or is not seen by this machine."""
        if not (self.work / PLAN).is_dir():
            raise UserError(
                f"{self.work / PLAN} is not there: what is read and written must be seen by all machines "
                "that work on it under the same paths"
            )
        with writing(self.folder, AGAIN):
            self.folder.mkdir(exist_ok=True)
            mark = self.function(number, self.file(number, ""))
            write_text(self.file(number, ".json"), json.dumps(to_plain(mark), sort_keys=True) + "\n")
        return mark

    def run(
        self,
        executor: Executor,
        title: str,
        progress: bool,
        done: Callable[[int, M], None] = lambda number, mark: None,
        unit: str = "part",
    ) -> bool:
        """Do the executor's share of the missing units; whether all units are done. Raises UserError."""
        numbers = executor.share(self.missing)
        with tqdm(total=len(numbers), unit=unit, desc=title, disable=not progress or not numbers) as bar:

            def count(number: int, mark: M) -> None:
                done(number, mark)
                bar.update()

            try:
                executor.run(self, numbers, count)
            except UserError:
                begun = {path.name for path in self.work.iterdir()} if self.work.is_dir() else set()
                unused = begun <= {PLAN, self.name} and len(self.missing) == self.count
                if unused and not executor.is_array_task:
                    shutil.rmtree(self.work, ignore_errors=True)  # the next command may be another
                raise
        return not self.missing


def complete(
    target: Path,
    work: Path,
    executor: Executor,
    finished: Callable[[], T | None],
    run: Callable[[], bool],
    finish: Callable[[], T],
    anew: bool = False,
) -> T | None:
    """Do work whose target appears when the last unit is done, or go on with it; None where other tasks of an
    array have not done their share. `finished` finds a target of these settings, `run` plans and does the
    units (whether all are done), `finish` puts the target in place; `work` is removed at the end."""

    def held(now: bool) -> AbstractContextManager[None]:
        return locked(target, beside=True) if now else nullcontext()

    with held(not executor.is_array_task):
        if not anew and (found := finished()) is not None:
            shutil.rmtree(work, ignore_errors=True)  # of a run that was killed at its very end
            return found
        try:
            if not run():
                return finished()
        except UserError:
            # Another task of an array may have finished meanwhile, and cleared the marks away.
            if executor.is_array_task and (found := finished()) is not None:
                return found
            raise
        with held(executor.is_array_task):
            if executor.is_array_task and (found := finished()) is not None:  # another task was faster
                return found
            made = finish()
            shutil.rmtree(work, ignore_errors=True)
            return made


def find_plan(work: Path, mark: str, make: Callable[[Path], dict[str, Any]], discard: str) -> dict[str, Any]:
    """The plan of some work, found or made: a folder that appears whole, so that several may make it at once.
    `mark` digests settings and inputs; `make` returns plain values, and may write more files into the draft.
    Raises UserError where work of other settings is under way there."""
    folder = work / PLAN
    if not folder.is_dir():
        draft = folder.with_name(f"{PLAN}.{socket.gethostname()}-{os.getpid()}")
        with writing(work, "and run the command again"):
            work.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            try:
                write_text(draft / _PLAN_FILE, json.dumps({"mark": mark, **make(draft)}))
                sync_folder(draft)
                with contextlib.suppress(OSError):  # another process was faster
                    os.rename(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    path = folder / _PLAN_FILE
    broken = (OSError, ValueError, KeyError, TypeError, RecursionError)
    with explained(f"{path} is damaged", discard, *broken):
        plan = json.loads(read_text(path, MAX_LOG))
        found = plan["mark"]
    if found != mark:
        raise UserError(
            f"{work} holds what was done so far with other settings, another model or other files: "
            f"finish that, or {discard}"
        )
    return plan


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file that is written beside `path`, and has its name when it is whole and on the disk."""
    partial = path.with_name(f".{path.name}.partial-{socket.gethostname()}-{os.getpid()}")
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_record(path: Path, kind: type[T], remedy: str) -> T:
    """The dataclass of a JSON file of numbers, texts, mappings and lists; raises UserError."""
    return from_plain(kind, read_json_object(path), path, remedy=remedy)
