"""Speed of the embedded world's generator on one core: `python benchmarks/world.py --scenes 2000`.

Prints scenes per second for the scene graphs, the texts, the drawing, and all three without encoding; then
with JPEG encoding and shards on disk. The floors are 800 and 300 scenes a second.
"""

import argparse
import itertools
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import PIL

from xfm.config.world import WorldConfig
from xfm.world.rng import Rng
from xfm.world.scene import Split
from xfm.world.units import OBJECTS, Part, Unit, WorkerState, annotation, make_scenes


def measure(scenes: int, repeats: int) -> dict[str, float]:
    """Scenes per second of every stage: the best of `repeats` runs over `scenes` scenes, CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        studio = WorkerState(WorldConfig(shard_size=scenes), Path(folder))
        result = {"startup_s": time.process_time() - start}
        sampler = studio.sampler()
        for repeat in range(repeats):
            rng = Rng("benchmark", repeat)
            marks = [time.process_time()]
            drawn = [sampler.place(rng, sampler.choose(rng, rng.weighted(OBJECTS))) for _ in range(scenes)]
            marks.append(time.process_time())
            for scene in drawn:
                annotation(rng, scene)
            marks.append(time.process_time())
            for scene in drawn:
                studio.renderer.render(scene)
            marks.append(time.process_time())
            make_scenes(studio, Unit(Part.SCENES, Split.TRAIN, repeat, scenes))
            marks.append(time.process_time())
            spans = [b - a for a, b in itertools.pairwise(marks)]
            stages = {
                "scene graphs": spans[0],
                "captions and phrases": spans[1],
                "drawing": spans[2],
                "all without encoding": sum(spans[:3]),
                "all with JPEG and shards": spans[3],
            }
            for stage, seconds in stages.items():
                result[stage] = max(result.get(stage, 0.0), scenes / seconds)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    chosen = parser.parse_args()
    result = measure(chosen.scenes, chosen.repeats)
    about = {"machine": platform.machine(), "cores": os.cpu_count(), "pillow": PIL.__version__}
    print(f"{'stage':<28}{'scenes/s':>10}")
    for stage, rate in result.items():
        if stage != "startup_s":
            print(f"{stage:<28}{rate:>10,.0f}")
    print(f"start-up: {result['startup_s']:.2f} s")
    text = json.dumps({"benchmark": "world", **about, "scenes": chosen.scenes, "results": result})
    print(text)
    if chosen.json:
        chosen.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
