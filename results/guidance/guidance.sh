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
