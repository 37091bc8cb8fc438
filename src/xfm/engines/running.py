"""The units that are missing, done by an engine, with a bar that shows when all will be done."""

from collections.abc import Callable

from tqdm import tqdm

from xfm.engines.base import Executor, Units, missing


def run_missing(
    units: Units,
    count: int,
    engine: Executor,
    title: str,
    progress: bool,
    after: Callable[[int], None] = lambda _: None,
    unit: str = "part",
) -> None:
    """Do this engine's share of the units that are missing.

    Args:
        units: the work.
        count: of all units.
        engine: who does it.
        title: of the bar.
        progress: show the bar.
        after: see `Executor.run`.
        unit: what the bar counts.

    Raises:
        UserError: see `Executor.run`.
    """
    numbers = missing(units, count)
    total = engine.share(numbers)
    with tqdm(total=total, unit=unit, desc=title, disable=not progress or not total) as bar:

        def done(number: int) -> None:
            after(number)
            bar.update()

        engine.run(units, numbers, done)
