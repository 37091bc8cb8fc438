"""`xfm bench`: which way to run a model is fastest on this machine."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from xfm.boxed import DEFAULT
from xfm.commands._options import option
from xfm.config.bench import BenchConfig
from xfm.config.options import add_fields, assemble, new_parser
from xfm.errors import UserError, suggest

if TYPE_CHECKING:
    from xfm.runtimes.choice import ChosenWay

KINDS = ("backends",)


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm bench`."""
    parser = new_parser(
        words=["what", "model"],
        prog="xfm bench",
        usage="xfm bench backends [MODEL] [--OPTION VALUE ...]",
        description="Measure the ways to run a model on this machine, in turn: torch in float32 and bf16,\n"
        "ONNX Runtime and OpenVINO, where they are installed. Each is compared with the model's self-check\n"
        "before. The fastest is kept for this machine, in the user's cache (XFM_CACHE), and pipelines,\n"
        "`xfm predict` and `xfm serve` follow it, and say so; --precision fp32 there keeps to torch.",
        epilog="examples:\n"
        "  xfm bench backends small\n"
        "  xfm bench backends runs/quickstart/model --exact\n"
        "  xfm bench backends small --batches 1,16 --keep false --json figures.json",
    )
    option(parser, "--what", f"what is measured: {', '.join(KINDS)}", KINDS[0])
    option(parser, "--model", default=DEFAULT)
    option(parser, "--json", "file to write the figures to")
    add_fields(parser, BenchConfig)
    return parser


def run(chosen: Namespace) -> None:
    """Measure, show, and keep the choice."""
    if chosen.what not in KINDS:
        raise UserError(f"bench measures no {chosen.what}; {suggest(chosen.what, KINDS)}")
    config = assemble(BenchConfig, chosen)
    from xfm.config.plain import to_plain
    from xfm.files import write_text
    from xfm.modeling.named import model_folder
    from xfm.runtimes.choice import keep
    from xfm.runtimes.measuring import measure_ways

    folder = model_folder(chosen.model)
    choice = measure_ways(folder, config, lambda text: print(f"... {text}", flush=True))
    print(table(choice))
    for reason in choice.left_out:
        print(f"Left out: {reason}")
    if chosen.json:
        write_text(Path(chosen.json), json.dumps(to_plain(choice), indent=2) + "\n")
    if config.keep:
        place = keep(folder, choice)
        print(f"{chosen.model} runs on {choice.way} from now on, on this machine ({place}).")
    else:
        print(f"The fastest is {choice.way}; nothing was kept.")


def table(choice: "ChosenWay") -> str:
    """The figures, a row for each work and batch: times, and how often each fits into the first way's."""
    ways = list(dict.fromkeys(one.way for one in choice.figures))
    rows = list(dict.fromkeys((one.work, one.batch) for one in choice.figures))
    times = {(one.way, one.work, one.batch): one.milliseconds for one in choice.figures}
    lines = [f"{'ms a pass':<16}" + "".join(f"{way:>20}" for way in ways)]
    for work, batch in rows:
        first = times[ways[0], work, batch]
        cells = (f"{(ms := times[way, work, batch]):.1f} ({first / ms:.2f} x)" for way in ways)
        lines.append(f"{work + ' ' + str(batch):<16}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)
