"""The HTTP API under load: 64 clients with mixed requests against `xfm serve`, a process of its own.

    python -m benchmarks.serving_load [--seconds 300] [--json load.json] [--infinity /path/to/its/python]

Finds the capacity with a closed loop, alternating with the same server without batching
(`--max-batch-size 1`), then sends at 80 % of it for so many seconds, to another of the same kind, with
`--queue-size`: latencies, statuses, and the server's memory over time. The capacity is found anew before each
half a minute of that, since what other work leaves of the machine changes.
`--infinity` names a Python that has infinity-emb: both servers then embed the same texts in turn,
infinity-emb with a BERT of like depth and width, made from a configuration. Clients and servers share the
machine.
"""

import argparse
import base64
import io
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from benchmarks.infinity import infinity
from benchmarks.load_client import Sent, Tally, closed_loop, open_loop, request
from PIL import Image, ImageDraw

WORDS = ("a", "red", "green", "blue", "small", "cat", "dog", "car", "tree", "left", "right", "of", "and")
SEGMENT, LOOK = 30.0, 10.0
"""Seconds at one rate, and of the closed loop before them that finds it."""
PICTURES = 9000
"""Distinct ones: more than a server keeps encoded, so that every picture is encoded anew."""


# ---------------------------------------------------------------- what is asked
def pictures(count: int, seed: int = 0) -> Iterator[str]:
    """Data URLs of JPEGs of coloured shapes, each another one."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        picture = Image.new("RGB", (160, 120), tuple(map(int, rng.integers(0, 256, 3))))
        draw = ImageDraw.Draw(picture)
        for _ in range(4):
            left, top, wide, high = map(int, rng.integers(0, 100, 4))
            draw.rectangle((left, top, left + wide, top + high), tuple(map(int, rng.integers(0, 256, 3))))
        out = io.BytesIO()
        picture.save(out, "jpeg", quality=85)
        yield "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def texts(rng: np.random.Generator, count: int) -> list[str]:
    """Captions of four to sixteen words."""
    return [" ".join(rng.choice(WORDS, rng.integers(4, 17))) for _ in range(count)]


def mixed(count: int = PICTURES) -> list[Sent]:
    """Requests of every kind, until the pictures are used up."""
    rng, shown, found = np.random.default_rng(1), pictures(count), list[Sent]()
    try:
        while True:
            kind = rng.choice(
                ["texts", "pictures", "rerank", "score", "grounding", "labels", "search"],
                p=[0.4, 0.15, 0.1, 0.1, 0.1, 0.05, 0.1],
            )
            found.append(_one(str(kind), rng, shown))
    except StopIteration:
        return found


def _one(kind: str, rng: np.random.Generator, shown: Iterator[str]) -> Sent:
    (text,) = texts(rng, 1)
    if kind == "texts":
        told = {"input": texts(rng, int(rng.integers(1, 9))), "encoding_format": "base64"}
        return request(kind, "/v1/embeddings", told)
    if kind == "pictures":
        return request(kind, "/v1/embeddings", {"input": [next(shown) for _ in range(rng.integers(1, 3))]})
    if kind == "rerank":
        return request(kind, "/v2/rerank", {"query": text, "documents": [next(shown) for _ in range(4)]})
    if kind == "score":
        return request(kind, "/score", {"text_1": texts(rng, 2), "text_2": [next(shown) for _ in range(2)]})
    if kind == "grounding":
        return request(kind, "/v1/tasks/grounding", {"input": {"image": next(shown), "text": text}})
    if kind == "labels":
        told = {"input": {"image": next(shown)}, "options": {"candidate_labels": ["a cat", "a dog", "a car"]}}
        return request(kind, "/v1/tasks/zero-shot-image-classification", told)
    return request(kind, "/search", {"text": text, "top_k": 5, "rerank": 16})


def only_texts(model: str, count: int = 2000) -> list[Sent]:
    """Requests that any server of OpenAI's shape answers."""
    rng = np.random.default_rng(2)
    told = [{"model": model, "input": texts(rng, int(rng.integers(1, 9)))} for _ in range(count)]
    return [request("texts", "/v1/embeddings", one) for one in told]


# ---------------------------------------------------------------- who answers
@contextmanager
def serving(*options: str) -> Iterator[tuple[str, int]]:
    """The address and the process of a server."""
    command = [sys.executable, "-m", "xfm", "serve", *options, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if " at http://" not in line:
            raise SystemExit(f"{' '.join(command)} does not listen: {line}")
        yield line.split(" at ")[1].split(";")[0], process.pid
    finally:
        process.terminate()
        process.wait(60)


def collection(model: str, folder: Path, count: int = 300) -> Path:
    """A collection of pictures, by the command that makes one."""
    images = folder / "images"
    images.mkdir()
    for number, url in enumerate(pictures(count, seed=9)):
        (images / f"{number}.jpg").write_bytes(base64.b64decode(url.partition(",")[2]))
    command = [sys.executable, "-m", "xfm", "index", "build", "--model", model, "--images", str(images)]
    subprocess.run([*command, "--out", str(folder / "shop")], check=True, stdout=subprocess.DEVNULL)
    return folder / "shop"


class Memory:
    """Samples what a process takes, once a second, until it is left."""

    def __init__(self, process: int) -> None:
        self._process, self._end = psutil.Process(process), threading.Event()
        self.samples: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        began = time.monotonic()
        while not self._end.wait(1.0):
            self.samples.append((time.monotonic() - began, self._process.memory_info().rss / 2**20))

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    def told(self) -> dict[str, float]:
        """MiB at the beginning and at the end, and how many a minute are added in the second half."""
        times, sizes = np.array(self.samples[len(self.samples) // 2 :]).T
        slope = float(np.polyfit(times, sizes, 1)[0]) * 60 if len(times) > 2 else 0.0
        return {"first": self.samples[0][1], "last": self.samples[-1][1], "per_minute": slope}


# ---------------------------------------------------------------- the figures
def warm(address: str, requests: Sequence[Sent], clients: int) -> None:
    """Ask every kind once or twice, for what is made at first use."""
    closed_loop(address, requests, clients, 3)


def alternating(
    addresses: Mapping[str, str],
    requests: Mapping[str, Sequence[Sent]],
    clients: int,
    seconds: float,
    rounds: int,
) -> dict[str, list[Tally]]:
    """Closed loops with servers in turn, so that the machine's moods meet all of them."""
    found: dict[str, list[Tally]] = {name: [] for name in addresses}
    for number in range(rounds):
        for name, address in addresses.items():
            start = number * len(requests[name]) // rounds
            found[name].append(closed_loop(address, requests[name], clients, seconds / rounds, start))
    return found


def steady(
    patient: str, quick: str, requests: Sequence[Sent], clients: int, seconds: float, start: int
) -> tuple[list[float], Tally]:
    """Four fifths of what a server can do just then, in segments: the rates, and all latencies together.

    `patient` is asked what it can do, `quick` is another one of the same kind, and answers.

    Each loop goes on with the requests where the last one ended, from `start`: what was asked lately is not
    encoded anew, and would count for nothing.
    """
    rates, total = list[float](), Tally()
    for _ in range(max(1, round(seconds / SEGMENT))):
        look = closed_loop(patient, requests, clients, LOOK, start)
        start += look.statuses.total()
        rates.append(0.8 * look.rate)
        segment = open_loop(quick, requests, clients, rates[-1], min(seconds, SEGMENT), start)
        start += segment.statuses.total()
        total.add(segment)
    return rates, total


def ratio(first: list[Tally], second: list[Tally]) -> float:
    """The median over the rounds of what one does more than the other."""
    return statistics.median(a.rate / b.rate for a, b in zip(first, second, strict=True) if b.rate)


def told(tallies: list[Tally]) -> dict[str, Any]:
    statuses = {str(one): sum(t.statuses[one] for t in tallies) for t in tallies for one in t.statuses}
    return {"rate": statistics.median(one.rate for one in tallies), "statuses": statuses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="of the open loop")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="of each closed loop")
    parser.add_argument("--model", default="small")
    parser.add_argument("--precision", default="auto", help="of all of our servers: fp32, bf16 or auto")
    parser.add_argument("--queue-size", default="512", help="items that wait, see xfm serve")
    parser.add_argument("--infinity", help="a Python that has infinity-emb")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    requests, closed = mixed(), min(90.0, max(5.0, asked.seconds / 4))
    result: dict[str, Any] = {"machine": platform.processor() or platform.machine(), "clients": asked.clients}
    result |= {"precision": asked.precision, "queue_size": asked.queue_size}
    with tempfile.TemporaryDirectory() as folder:
        shop = str(collection(asked.model, Path(folder)))
        options = (asked.model, "--precision", asked.precision)
        with (
            serving(*options, "--index", shop) as (ours, _),
            serving(*options, "--index", shop, "--max-batch-size", "1") as (single, _),
            serving(*options, "--index", shop, "--queue-size", asked.queue_size) as (quick, process),
        ):
            for address in (ours, single, quick):
                warm(address, requests, asked.clients)
            places = {"batched": ours, "single": single}
            loops = alternating(places, dict.fromkeys(places, requests), asked.clients, closed, asked.rounds)
            result |= {name: told(many) for name, many in loops.items()}
            result["batching"] = ratio(loops["batched"], loops["single"])
            with Memory(process) as memory:
                last = (
                    loops["batched"][-1].statuses.total() + len(requests) * (asked.rounds - 1) // asked.rounds
                )
                rates, tally = steady(ours, quick, requests, asked.clients, asked.seconds, last)
            kinds = {kind: tally.percentiles(kind) for kind in sorted(tally.latencies)}
            result["steady"] = {"rates": rates, "statuses": dict(tally.statuses), **tally.percentiles()}
            result |= {"kinds": kinds, "memory": memory.told()}
        if asked.infinity:
            with serving(*options) as (ours, _), infinity(asked.infinity, Path(folder)) as theirs:
                places = {"xfm": ours, "infinity": theirs}
                asks = {"xfm": only_texts(asked.model), "infinity": only_texts("peer")}
                for name, address in places.items():
                    warm(address, asks[name], asked.clients)
                loops = alternating(places, asks, asked.clients, closed, asked.rounds)
                servers = {name: told(many) for name, many in loops.items()}
                result["texts"] = {**servers, "ratio": ratio(loops["xfm"], loops["infinity"])}
    show(result)
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")


def show(result: dict[str, Any]) -> None:
    """The figures as a table."""
    for name in ("batched", "single"):
        print(f"{name:<10} {result[name]['rate']:>8.1f} requests/s   statuses {result[name]['statuses']}")
    print(f"batching   {result['batching']:>8.2f} x")
    steady = result["steady"]
    rates = f"{min(steady['rates']):.0f} to {max(steady['rates']):.0f}"
    print(f"at 80 %    {rates:>8} requests/s   statuses {steady['statuses']}")
    print(f"{'ms':<12} {'p50':>8} {'p95':>8} {'p99':>8} {'max':>8}")
    for name, found in {"all": steady, **result["kinds"]}.items():
        print(f"{name:<12}" + "".join(f" {found.get(at, 0):>8.0f}" for at in ("p50", "p95", "p99", "max")))
    memory = result["memory"]
    print(
        f"memory     {memory['first']:.0f} -> {memory['last']:.0f} MiB, {memory['per_minute']:+.1f} a minute"
    )
    if "texts" in result:
        both = ", ".join(f"{name} {result['texts'][name]['rate']:.1f}/s" for name in ("xfm", "infinity"))
        print(f"texts      {both}: {result['texts']['ratio']:.2f} x")


if __name__ == "__main__":
    main()
