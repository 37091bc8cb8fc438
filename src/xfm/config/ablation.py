"""A file of arms: trainings of a recipe that differ in one part of the method. Nothing here imports torch."""

from dataclasses import dataclass, field, fields

from xfm.config.load import read_recipe
from xfm.config.options import parse
from xfm.config.training import LossConfig
from xfm.config.typed import check_limits, limited
from xfm.core.errors import UserError, suggest

ABLATIONS = "ablations"
"""Folder of the package's files of arms, below its recipes."""


@dataclass(frozen=True)
class Arm:
    """A recipe with other settings.

    Attributes:
        name: of the arm.
        meaning: in a few words.
        options: as `xfm pretrain` takes them, such as `--training.mim_target=pixels`; `{seed}` in one is the
            seed of the run.
        without: losses that have no weight in any phase.
    """

    name: str
    meaning: str
    options: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        losses = [one.name for one in fields(LossConfig)]
        if unknown := next((name for name in self.without if name not in losses), None):
            told = suggest(unknown, losses, f"one of {', '.join(losses)}")
            raise UserError(f"the arm {self.name}: there is no loss {unknown}; {told}")


@dataclass(frozen=True)
class Average:
    """A mean of scores that was declared before the runs. In a score's name `{text}` is the split `test` of
    texts, `{seen}` that of pictures, and both are `validation` where the validation splits are scored."""

    name: str
    scores: list[str]


@dataclass(frozen=True)
class AblationConfig:
    """An ablation: its arms, each trained with every seed and scored alike.

    Attributes:
        recipe: one of the package's, or a YAML file; its path, as those of options, starts here.
        arms: the first is the one that the others are compared with.
        averages: scores that count, declared before the runs; intervals are corrected for their number.
        options: of every run, as those of an arm.
        only: names of arms, where not all are wanted; the first is always among them.
        seeds: each arm is trained with the seeds 0 to this, less one.
        scale: of the evaluations, see `xfm evaluate`.
        validation: score the validation splits in place of the tests, to choose settings by.
    """

    recipe: str = "ablation"
    arms: list[Arm] = field(default_factory=list)
    averages: list[Average] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    only: list[str] = field(default_factory=list)
    seeds: int = limited(3, 1, 1000)
    scale: float = limited(1.0, 1e-9, 1)
    validation: bool = False

    def __post_init__(self) -> None:
        check_limits(self)
        names = [one.name for one in self.arms]
        if not names:
            raise UserError("a file of arms has one arm at least: see `xfm ablate --help`")
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"there are two arms {doubled}; give each a name of its own")
        if bad := next((name for name in names if not name.replace("-", "").isalnum()), None):
            raise UserError(f"the arm {bad!r} names a folder: take letters, digits and hyphens")
        averages = [one.name for one in self.averages]
        if bad := next((name for name in averages if "/" in name or averages.count(name) > 1), None):
            raise UserError(f"the average {bad!r} needs a name of its own, without a slash")
        for name in self.only:
            if name not in names:
                raise UserError(f"there is no arm {name}; {suggest(name, names, 'see the file of arms')}")

    @property
    def chosen(self) -> list[Arm]:
        """The arms that are trained, the first of all in front."""
        return [one for one in self.arms if not self.only or one.name in (self.arms[0].name, *self.only)]

    def averaged(self, scores: dict[str, float]) -> dict[str, float]:
        """Averages of scores. UserError: one is missing; of validation splits some parts have none."""
        text, seen = ("validation", "validation") if self.validation else ("test", "seen")
        found = dict[str, float]()
        for one in self.averages:
            keys = [key.replace("{text}", text).replace("{seen}", seen) for key in one.scores]
            there = [scores[key] for key in keys if key in scores]
            if len(there) < len(keys) and not self.validation:
                missing = next(key for key in keys if key not in scores)
                raise UserError(
                    f"the average {one.name}: no score is called {missing}; mend the file of arms"
                )
            if there:
                found[one.name] = sum(there) / len(there)
        return found


def load_ablation(file: str) -> AblationConfig:
    """A file of arms, by its name in the package or as a YAML file; UserError as of `load_recipe`."""
    values = read_recipe(file, AblationConfig, ABLATIONS)
    return parse(AblationConfig, values=values, source=f"recipe {file}", env_prefix="")
