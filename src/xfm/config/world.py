"""Configuration of the embedded world. Nothing here imports more than the standard library."""

from dataclasses import dataclass, field, fields, replace

from xfm.config.typed import MAX_SEED, Limited, check_limits, limited

MOST = 100_000_000
"""Records of one kind."""


@dataclass(frozen=True)
class TaskSizes(Limited, place="tasks."):
    """Rows of each task file.

    Attributes:
        retrieval: rows of each retrieval split (seen, combinations, objects); captions are distinct.
        hard: retrieval rows with distractors that differ in a relation, place, size, count or background.
        vqa_train, vqa_test: questions; the test size holds for each split.
        reasoning_train, reasoning_test: statements about two pictures.
        grounding_train, grounding_test: referring phrases.
        entailment_train, entailment_test: pairs of texts, balanced.
        paraphrase_train, paraphrase_test: pairs of texts, balanced.
        category_train, category_test: pictures of single objects; the objects of the two do not overlap.
        masked_token: captions with a right and a wrong picture.
        absence: phrases that are true of a picture or false of it, as many of each.
        validation: rows of each task's validation file, for choosing settings without looking at the tests.
    """

    retrieval: int = limited(1000, 0, MOST)
    hard: int = limited(1000, 0, MOST)
    vqa_train: int = limited(12000, 0, MOST)
    vqa_test: int = limited(1000, 0, MOST)
    reasoning_train: int = limited(10000, 0, MOST)
    reasoning_test: int = limited(1000, 0, MOST)
    grounding_train: int = limited(10000, 0, MOST)
    grounding_test: int = limited(1000, 0, MOST)
    entailment_train: int = limited(20000, 0, MOST)
    entailment_test: int = limited(1000, 0, MOST)
    paraphrase_train: int = limited(20000, 0, MOST)
    paraphrase_test: int = limited(1000, 0, MOST)
    category_train: int = limited(3000, 0, MOST)
    category_test: int = limited(1000, 0, MOST)
    masked_token: int = limited(1000, 0, MOST)
    absence: int = limited(1000, 0, MOST)
    validation: int = limited(500, 0, MOST)


@dataclass(frozen=True)
class WorldConfig:
    """The embedded world: how much of everything.

    Attributes:
        seed: seed of everything random.
        image_size: side of the square pictures in pixels (at least 64).
        quality: JPEG quality, 1 to 95.
        vocab_size: entries of the trained tokenizer.
        scenes: pictures of one to five objects with captions and boxes.
        singles: pictures of one object with captions and boxes.
        twins: pictures of scenes of which every two differ by one edit; an even number.
        whole_captions: percentage of the captions of twins that name every object.
        pictures: pictures of one object without text.
        text_lines: lines of plain text.
        objects: most objects to use, 0 for all (a smaller world learns faster).
        heldout_objects: objects that no training picture shows.
        heldout_pairs: held-out pairs of objects, in thousandths of all pairs.
        shard_size: pictures per shard.
        scale: multiplies the numbers of pictures, lines and task rows (a smoke run uses 0.02).
        workers: processes that build; 0 takes one per core, up to 8. Does not change the result.
        tasks: rows of the task files.
    """

    seed: int = limited(0, 0, MAX_SEED)
    image_size: int = limited(96, 64, 1024)
    quality: int = limited(90, 1, 95)
    vocab_size: int = limited(3000, 300, 100_000)
    scenes: int = limited(12000, 1, MOST)
    singles: int = limited(4000, 0, MOST)
    twins: int = limited(8000, 0, MOST)
    whole_captions: int = limited(40, 0, 100)
    pictures: int = limited(3000, 0, MOST)
    text_lines: int = limited(30000, 0, MOST)
    objects: int = limited(670, 0, MOST)
    heldout_objects: int = limited(60, 0, MOST)
    heldout_pairs: int = limited(80, 0, 300)
    shard_size: int = limited(1000, 1, 100_000)
    scale: float = limited(1.0, 1e-9, 1000)
    workers: int = limited(0, 0, 1024)
    tasks: TaskSizes = field(default_factory=TaskSizes)

    def __post_init__(self) -> None:
        check_limits(self)
        # Two twins lie in one shard; a scaled number of them is even by itself.
        uneven = {"twins": self.twins if self.scale == 1 else 0, "shard_size": self.shard_size}
        for name, number in uneven.items() if self.twins else ():
            if number % 2:
                raise ValueError(f"{name} is {number}: twins come in twos, choose an even number")
        if self.objects and self.objects < max(100, least := 4 * self.heldout_objects):
            raise ValueError(
                f"objects is {self.objects}: choose 0 for all, or at least 100 and four times as many as "
                f"heldout_objects, which is {self.heldout_objects}: {least}"
            )

    def resolved(self) -> "WorldConfig":
        """The world with `scale` worked in: multiples of 4 and at least 8, except that 0 stays 0."""

        def scaled(count: int) -> int:
            return count if not count or self.scale == 1 else max(8, round(count * self.scale / 4) * 4)

        sizes = {f.name: scaled(getattr(self.tasks, f.name)) for f in fields(self.tasks)}
        names = ("scenes", "singles", "twins", "pictures", "text_lines")
        counts = {name: scaled(getattr(self, name)) for name in names}
        return replace(self, scale=1.0, tasks=replace(self.tasks, **sizes), **counts)
