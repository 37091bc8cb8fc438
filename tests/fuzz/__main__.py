"""`python -m tests.fuzz`: damaged files for every reader (`make fuzz`).

Each family gets as many inputs as --inputs says. What is found is printed with its traceback, and the input
is kept in --out; `--target NAME --only NUMBER` reads one again in the foreground.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.all import TARGETS, of_family
from tests.fuzz.running import Finding, Reading, findings_in, input_of, read_all, shares
from tests.fuzz.target import Family

_WORKER = "--read"
_PART = 10_000
"""Inputs that one process reads: what it holds is given back between."""


def _ended(status: int, state: str, errors: str, work: Path) -> Finding:
    """What a process that was ended had under its hands."""
    name, _, number = state.strip().rpartition(" ")
    places = (work / folder / TARGETS[name].file for folder in (name, "files"))
    file = next((place for place in places if place.is_file()), None)
    kinds = {-27: "takes too long", -14: "waits for ever", -9: "was killed"}
    return Finding(
        name,
        int(number),
        kinds.get(status, f"ended with {status}"),
        errors[-4000:],
        file.read_bytes() if file else b"",
    )


def read_in_processes(wanted: dict[str, tuple[int, int]], guided: bool = False) -> list[Finding]:
    """What is found in the inputs of some targets, `first` to `stop` - 1 of each.

    Behind an input that ends its process the next one begins.
    """
    if guided and len(wanted) > 1:
        return [one for name in wanted for one in read_in_processes({name: wanted[name]}, guided)]
    found: list[Finding] = []
    while wanted:
        with tempfile.TemporaryDirectory() as work:
            done = subprocess.run(
                command_of(wanted, work, guided), capture_output=True, text=True, errors="replace"
            )
            found += findings_in(done.stdout)
            path = Path(work, "state")
            state = path.read_text().strip() if path.exists() else ""
            if done.returncode == 0 and state:
                return found
            if not state or state == "done":
                raise SystemExit(
                    f"a process of the fuzzer ended with {done.returncode}: {done.stderr[-4000:]}"
                )
            found.append(_ended(done.returncode, state, done.stderr, Path(work)))
            name, number = found[-1].target, found[-1].number
            names = [*wanted]
            rest = {one: wanted[one] for one in names[names.index(name) + 1 :]}
            begun = {name: (number + 1, wanted[name][1])} if number + 1 < wanted[name][1] else {}
            wanted = begun | rest
    return found


def command_of(wanted: dict[str, tuple[int, int]], work: str, guided: bool) -> list[str]:
    """What reads some inputs; its work lies in a folder."""
    python = [sys.executable, "-m"]
    if not guided:
        return [*python, "tests.fuzz", _WORKER, json.dumps(wanted), work]
    ((name, (first, stop)),) = wanted.items()
    return [*python, "tests.fuzz.guided", name, str(first), str(stop), work]


def _parts(targets: Sequence[str], inputs: int, first: int) -> list[dict[str, tuple[int, int]]]:
    """The work of one process after the other: so many inputs each."""
    found: list[dict[str, tuple[int, int]]] = [{}]
    room = _PART
    for name, count in shares({name: TARGETS[name] for name in targets}, inputs).items():
        start, stop = first, first + count
        while start < stop:
            if not room:
                found.append({})
                room = _PART
            end = min(stop, start + room)
            found[-1][name] = start, end
            room -= end - start
            start = end
    return found


def _report(finding: Finding, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{finding.target.replace('/', '-')}-{finding.number}"
    file.write_bytes(finding.data)
    print(f"\n{finding.target}, input {finding.number}: {finding.kind}\n{finding.detail}", flush=True)
    print(f"kept in {file}; again: python -m tests.fuzz --target '{finding.target}' --file '{file}'")


def _once(name: str, number: int, file: Path | None) -> int:
    with tempfile.TemporaryDirectory() as work:
        reading = Reading(name, Path(work) / "files")
        data = file.read_bytes() if file else input_of(name, number, reading.valid)
        print(f"{len(data)} bytes: {data[:2000]!r}")
        found = reading.outcome(data)
    print("read, or refused" if found is None else f"{found[0]}\n{found[1]}")
    return int(found is not None)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000, help="for each family (default: %(default)s)")
    parser.add_argument("--first", type=int, default=1, help="number of the first input of each target")
    parser.add_argument("--family", type=Family, action="append", help=", ".join(Family))
    parser.add_argument("--target", action="append", choices=[*TARGETS], metavar="NAME")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="read this input of the target alone")
    parser.add_argument("--file", type=Path, help="read this file alone, as the target")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="for what is found")
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris")
    parser.add_argument(_WORKER, nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.read:
        read_all(json.loads(chosen.read[0]), Path(chosen.read[1]), sys.stdout)
        return 0
    if chosen.only is not None or chosen.file is not None:
        return _once(chosen.target[0], chosen.only or 0, chosen.file)
    count = 0
    for family in chosen.family or Family:
        names = chosen.target or [*of_family(family)]
        begun, read = time.monotonic(), 0
        seen: set[tuple[str, str]] = set()
        for part in _parts(names, chosen.inputs, chosen.first):
            for finding in read_in_processes(part, chosen.guided):
                if (finding.target, finding.kind) not in seen:
                    seen.add((finding.target, finding.kind))
                    _report(finding, chosen.out)
            read += sum(stop - start for start, stop in part.values())
            seconds = time.monotonic() - begun
            print(f"{family}: {read:,} inputs, {len(seen)} findings, {seconds:.0f} s", flush=True)
        count += len(seen)
        if chosen.target:
            break
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
