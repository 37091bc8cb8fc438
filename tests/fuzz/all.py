"""Every target, by its name."""

from tests.fuzz import annotations, configurations, shards, tables
from tests.fuzz.target import Family, Target

TARGETS: dict[str, Target] = {
    f"{one.family.value}/{one.name}": one
    for module in (shards, tables, annotations, configurations)
    for one in module.TARGETS
}


def of_family(family: Family) -> dict[str, Target]:
    """The targets of a kind of readers."""
    return {name: one for name, one in TARGETS.items() if one.family is family}
