"""The file of answers: JSON lines, only ever appended to, so that a killed run can go on."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from xfm.config.plain import first_difference, to_plain
from xfm.config.tables import table_kind
from xfm.core.errors import UserError
from xfm.core.files import open_regular, read_json_or_nothing, write_text, writing
from xfm.core.locks import lock_file
from xfm.core.results_folder import free_name

ROW, ANSWER, IMAGE = "row", "prediction", "image"
_TAIL = 1 << 16
_BROKEN = (ValueError, KeyError, TypeError, RecursionError)
_ROOM = "there and run the same command again: it goes on where it stopped"


def settings_file(out: Path) -> Path:
    """The settings of a run, beside its answers."""
    return out.with_name(f"{out.name}.run.json")


def require_lines(out: Path) -> None:
    """Refuse a suffix of another format: answers are nested, and a killed run goes on by lines."""
    if table_kind(out) not in (None, ".jsonl", ".ndjson", ".json"):
        fitting = out.with_suffix(".jsonl")
        raise UserError(f"{out}: answers are written as JSON lines; take --out {fitting}")


def bad_file(out: Path) -> Path:
    """The log of rows without an answer."""
    return out.with_name(f"{out.name}.bad.jsonl")


class Answers:
    """An open, locked file of answers, which held `lines` rows up to `last`, or the pictures `names`."""

    def __init__(self, out: Path, file: BinaryIO, bad: BinaryIO, by_name: bool) -> None:
        self.out, self._file, self._bad, self._by_name = out, file, bad, by_name
        self.last, self.lines, names, line = 0, 0, set[str](), b""
        end = _end_of_lines(file)
        file.truncate(end)
        file.seek(0)
        for line in file if end else ():
            self.lines += 1
            if by_name:
                names.add(_line(out, self.lines, line, IMAGE, str))
        if end and not by_name:
            self.last = _line(out, self.lines, line, ROW, int)
        self.names = frozenset(names)
        # In a folder every picture without an answer is tried again.
        last = 0 if by_name else self.last
        bad.seek(0)
        kept, count = 0, 0
        for line in bad:
            row = None
            with contextlib.suppress(*_BROKEN):
                row = json.loads(line)[ROW] if line.endswith(b"\n") else None
            if not isinstance(row, int) or row > last:
                break
            kept, count = kept + len(line), count + 1
        bad.truncate(kept)
        self.skipped = count

    def write(self, row: int, kept: Mapping[str, Any], answer: Any) -> None:
        """Append an answer; `flush` hands it to the system."""
        line = answer_line(None if self._by_name else row, kept, prediction=answer)
        with writing(self.out, _ROOM):
            self._file.write(line + b"\n")

    def log(self, **entry: Any) -> None:
        """Note a row without an answer (`row`, `error`), or what else the folder holds (`says`)."""
        self.skipped += "error" in entry
        with writing(bad_file(self.out), _ROOM):
            self._bad.write(json.dumps(entry).encode() + b"\n")

    @property
    def first_bad(self) -> str:
        """The log's first row with its reason, or nothing."""
        self.flush()
        for line in bad_file(self.out).read_bytes().splitlines() if self.skipped else ():
            if "error" in (row := json.loads(line)):
                return row["error"]
        return ""

    def flush(self) -> None:
        """Hand everything to the system, the log first: it is mended by what the answers say."""
        for file, name in ((self._bad, bad_file(self.out)), (self._file, self.out)):
            with writing(name, _ROOM):
                file.flush()


@contextlib.contextmanager
def open_answers(out: Path, settings: Mapping[str, Any], restart: bool, by_name: bool) -> Iterator[Answers]:
    """Open a file of answers to go on with it, or begin one; `restart` throws away what is there. UserError:
    of other settings, in use by another process, or not writable."""
    require_lines(out)
    with contextlib.ExitStack() as stack:
        with writing(out, _ROOM):
            out.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(out.open("a+b"))
            if lock_file(file.fileno(), out) is False:
                raise UserError(f"{out} is being written by another run; wait for it, or name another file")
            require_own(out)
            if bad_file(out).is_symlink():  # it is emptied and removed, and may come from anybody
                raise UserError(f"{bad_file(out)} is a link: remove it, or name another file than {out}")
            if restart:
                file.truncate(0)
            plain = to_plain(settings)
            if file.seek(0, os.SEEK_END) == 0:
                write_text(settings_file(out), json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
            elif found := first_difference(read_json_or_nothing(settings_file(out)), plain):
                name, old, new = found
                differs = f"with {name} {old}, this run has {new}"
                if name == "input.begins":
                    source = plain["input"].get("file", "a table")
                    differs = f"of {source} when that began otherwise than it does now"
                raise UserError(f"{out} holds answers {differs}; name another file, or --restart")
            bad = stack.enter_context(bad_file(out).open("a+b"))
            if restart:
                bad.truncate(0)
            answers = Answers(out, file, bad, by_name)
        try:
            yield answers
            if not out.exists() or not os.path.samestat(os.fstat(file.fileno()), out.stat()):
                raise UserError(f"{out} was removed or replaced while it was written: run the command again")
        finally:
            answers.flush()
            os.fsync(file.fileno())
            if bad.seek(0, os.SEEK_END) == 0:
                bad_file(out).unlink(missing_ok=True)


def require_own(out: Path) -> None:
    """Refuse a file that a restart must not empty: it holds something else than answers."""
    with open_regular(out) as file:
        head = file.read(_TAIL)
    begins = tuple(b'{"%s": ' % name.encode() for name in (ROW, IMAGE, ANSWER))
    # A crash leaves torn lines, or zeros.
    own = not head.strip(b"\0") or head.startswith(begins) or any(one.startswith(head) for one in begins)
    if head and not (own and read_json_or_nothing(settings_file(out))):
        raise UserError(
            f"{out} holds something, but {settings_file(out).name} beside it does not say that `predict` "
            f"made it; name another file, such as {free_name(out)}"
        )


def _end_of_lines(file: BinaryIO) -> int:
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _TAIL)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _line(out: Path, number: int, line: bytes, key: str, kind: type) -> Any:
    with contextlib.suppress(*_BROKEN):
        if isinstance(value := json.loads(line)[key], kind):
            return value
    raise UserError(f"{out}:{number}: the line is not one of answers; remove it and what follows")


def answer_line(row: int | None, kept: Mapping[str, Any], **answer: Any) -> bytes:
    """A row and its answer (`prediction`) as JSON in UTF-8; pictures of a folder have no number."""
    number = {} if row is None else {ROW: row}
    line = json.dumps(
        {**number, **kept, **answer},
        ensure_ascii=False,
        default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value),
    )
    # Names of files need not be Unicode: their odd bytes become escapes that JSON reads back.
    return line.encode(errors="backslashreplace")
