"""Which units make a world."""

from xfm.config.world import WorldConfig
from xfm.world.splits import Split
from xfm.world.units import Part, Unit

TEXT_SLICE = 5000  # lines per unit
TASK_SLICE = 1000  # rows per unit
VALIDATED = (
    Part.RETRIEVAL,
    Part.VQA,
    Part.REASONING,
    Part.GROUNDING,
    Part.ENTAILMENT,
    Part.PARAPHRASE,
    Part.MASKED_TOKEN,
    Part.ABSENCE,
)


def plan(config: WorldConfig) -> list[Unit]:
    """All units of a resolved configuration, the longest first."""
    tasks, train = config.tasks, Split.TRAIN
    rows: list[tuple[Part, Split, int, int]] = [
        (Part.SCENES, train, config.scenes, config.shard_size),
        (Part.SINGLES, train, config.singles, config.shard_size),
        (Part.TWINS, train, config.twins, config.shard_size),
        (Part.PICTURES, train, config.pictures, config.shard_size),
        (Part.TEXT, train, config.text_lines, TEXT_SLICE),
        # The captions of a retrieval split are distinct: one unit makes them all.
        *(
            (Part.RETRIEVAL, s, tasks.retrieval, 10**9)
            for s in (Split.SEEN, Split.COMBINATIONS, Split.OBJECTS)
        ),
        (Part.RETRIEVAL, Split.HARD, tasks.hard, TASK_SLICE),
        (Part.RETRIEVAL, Split.HARD_VALIDATION, tasks.validation, TASK_SLICE),
    ]
    for part, trained, tested in (
        (Part.VQA, tasks.vqa_train, tasks.vqa_test),
        (Part.REASONING, tasks.reasoning_train, tasks.reasoning_test),
        (Part.GROUNDING, tasks.grounding_train, tasks.grounding_test),
    ):
        rows.append((part, train, trained, TASK_SLICE))
        rows += [(part, split, tested, TASK_SLICE) for split in (Split.SEEN, Split.COMBINATIONS)]
    for part, trained, tested in (
        (Part.ENTAILMENT, tasks.entailment_train, tasks.entailment_test),
        (Part.PARAPHRASE, tasks.paraphrase_train, tasks.paraphrase_test),
        (Part.CATEGORY, tasks.category_train, tasks.category_test),
    ):
        rows += [(part, train, trained, TASK_SLICE), (part, Split.TEST, tested, TASK_SLICE)]
    rows.append((Part.MASKED_TOKEN, Split.TEST, tasks.masked_token, 10**9))
    rows.append((Part.ABSENCE, Split.TEST, tasks.absence, TASK_SLICE))
    # One unit each: the captions of a retrieval split are distinct, wrong pictures are another row's.
    rows += [(part, Split.VALIDATION, tasks.validation, 10**9) for part in VALIDATED]
    return [
        Unit(part, split, index, min(size, total - index * size))
        for part, split, total, size in rows
        for index in range(-(-total // size))
    ]
