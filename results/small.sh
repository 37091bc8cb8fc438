# Three worlds: the first one's tests score the model, and its tokenizer, of commit 6dfa9a0, is the model's.
xfm prepare --out worlds/emoji
xfm prepare --scenes 36000 --twins 24000 --text-lines 60000 --out worlds/large
xfm prepare --scenes 60000 --twins 60000 --text-lines 60000 --whole-captions 70 --out worlds/larger
# From random weights: 2,243 steps, with the `small` of commit 6dfa9a0, on a processor without bf16 products.
xfm pretrain --recipe small --root worlds/emoji --out runs/small --training.minutes 82
python -m benchmarks.box half runs/small --out runs/small-half
# Trained on: 2,505 steps, on an Intel Xeon with AMX.
xfm pretrain --recipe small-longer --init.model runs/small-half/model --out runs/longer --training.minutes 45
python -m benchmarks.box half runs/longer --out runs/longer-half
# Trained on, with positions in fusion, and matching reaching language: 2,633 steps, on an AMD EPYC (Zen 4), with the
# `small-twins` of commit a0646bf0, whose negatives were those of the batch.
python -m benchmarks.box positions runs/longer-half --out runs/placed
xfm pretrain --recipe small-twins --init.model runs/placed/model --out runs/twins --training.minutes 45
python -m benchmarks.box half runs/twins --out runs/twins-half
# Trained on once more, with negatives of earlier steps: 2,712 steps on the same machine.
xfm pretrain --recipe small-twins --init.model runs/twins-half/model --out runs/remembered --training.minutes 42
python -m benchmarks.box half runs/remembered --out runs/box
# The row of results/small.csv: all baselines, and the steps of every fine-tuning.
xfm evaluate runs/box --world worlds/emoji --out runs/box
# When a search has found nothing, by galleries of up to 3,000 pictures.
xfm prepare --out worlds/galleries --tasks.retrieval 6000 --tasks.validation 6000
python -m benchmarks.box presence runs/box --world worlds/galleries
python -m benchmarks.box install runs/box small results/small.sh
