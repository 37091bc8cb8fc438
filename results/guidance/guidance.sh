set -eu
# What guides masked image modelling, on two cores: four seeds of the start, and of six arms.
python results/photos/collect.py collected
python results/photos/variants.py collected worlds/photos/pairs
xfm prepare --out worlds/emoji
for seed in 0 1 2 3; do
    xfm pretrain --recipe results/guidance/start.yaml --root worlds/emoji --out runs/guidance/start-$seed \
        --training.seed $seed
done
export PYTHONPATH=.
python results/guidance/run.py results/guidance/arms.yaml collected worlds/photos/pairs worlds/emoji \
    runs/guidance/arms
cat runs/guidance/arms/results.csv > results/guidance.csv
cat runs/guidance/arms/start.csv > results/guidance-start.csv
python -m benchmarks.crossed results/guidance/arms.yaml runs/guidance/arms results/guidance-crossed.csv
python -m benchmarks.arm_pictures results/guidance.csv results/guidance/arms.yaml docs/images/guidance.png
# Once more from the encoders of `photos`, with its scenes: three seeds of three arms, all from one start.
python results/photos/scenes.py collected worlds/photos/scenes
xfm init --language all-minilm-l6-v2 --vision efficientnet-lite0 --recipe results/guidance/together-photos.yaml \
    runs/guidance-photos/start-0/model
python results/guidance/run.py results/guidance/arms-photos.yaml collected worlds/photos/pairs worlds/photos \
    runs/guidance-photos/arms
cat runs/guidance-photos/arms/results.csv > results/guidance-photos.csv
cat runs/guidance-photos/arms/start.csv > results/guidance-photos-start.csv
python -m benchmarks.crossed results/guidance/arms-photos.yaml runs/guidance-photos/arms \
    results/guidance-photos-crossed.csv
