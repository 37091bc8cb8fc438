"""The tables of tasks in the documentation, made of the rows: `python -m tests.task_tables` prints them."""

from xfm.config.image import VIEW
from xfm.config.task_spec import Field, TaskSpec
from xfm.config.tasks import task_specs


def names(spec: TaskSpec) -> str:
    return f"`{spec.name}`" + "".join(f", `{also}`" for also in spec.also)


def given(spec: TaskSpec) -> str:
    required = [field for field in spec.inputs if not field.optional]
    whole = "`{" + ", ".join(f'"{field.name}"' for field in spec.inputs) + "}`"
    if not required:
        return " or ".join(field.holds.value for field in spec.inputs)
    if len(required) > 1:
        return whole
    return required[0].holds.value + (f", or {whole}" if len(spec.inputs) > 1 else "")


def model(spec: TaskSpec) -> str:
    if not spec.uses:
        return "fine-tuned"
    return "pre-trained or fine-tuned" if spec.tunable else "pre-trained"


def field_of(field: Field) -> str:
    said = " or ".join(f"`{name}`" for name in field.names)
    parts = " (or " + " and ".join(f"`{part}`" for part in field.parts) + ")" if field.parts else ""
    return said + parts + (", optional" if field.optional else "")


def pipelines() -> str:
    lines = ["| task | an input | an answer | model |", "|---|---|---|---|"]
    lines += [f"| {names(spec)} | {given(spec)} | {spec.answer} | {model(spec)} |" for spec in task_specs()]
    return "\n".join(lines)


def _own(spec: TaskSpec) -> list[str]:
    others = [name for name in spec.settings if name not in VIEW]
    return others if len(others) == len(spec.settings) else ["image.crop` ... `image.operations", *others]


def fine_tuning() -> str:
    lines = ["| task | answers | fields of a row | settings of its own |", "|---|---|---|---|"]
    for spec in task_specs(tunable=True):
        own = [f"`{name}`" for name in (*(f"tune.{one}" for one in spec.encoders), *_own(spec))]
        fields = "; ".join(map(field_of, spec.fields))
        lines.append(f"| {names(spec)} | {spec.summary} | {fields} | {', '.join(own)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(fine_tuning(), pipelines(), sep="\n\n")
