"""Pages from templates: the one place that sets jinja up."""

from importlib import resources
from typing import TYPE_CHECKING

from xfm.metrics.numbers import percent, points, readable_seconds, rough
from xfm.reports.labels import SPLIT_NAMES, metric_name, part_name
from xfm.reports.thumbnails import Thumbnails

if TYPE_CHECKING:
    from jinja2 import Template


def page_template(name: str, thumbnails: Thumbnails) -> "Template":
    """A template of `reports/templates`, in which everything is escaped and `picture` makes thumbnails."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def load(name: str) -> str:
        return (resources.files("xfm.reports") / "templates" / name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "seconds": readable_seconds}
    environment.filters |= {"rough": rough, "split_title": lambda split: SPLIT_NAMES.get(split, split)}
    environment.filters |= {"part_title": part_name, "metric_title": lambda name: metric_name(f"_/_/{name}")}
    environment.globals["picture"] = thumbnails.uri
    return environment.get_template(name)
