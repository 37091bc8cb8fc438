# Two worlds: the first one's tests score the model, and its tokenizer is the model's.
xfm prepare --out worlds/emoji
xfm prepare --scenes 36000 --twins 24000 --text-lines 60000 --out worlds/large
# From random weights: 2,243 steps, with the `small` of commit 6dfa9a0, on a processor without bf16 products.
xfm pretrain --recipe small --root worlds/emoji --out runs/small --training.minutes 82
python -m benchmarks.box half runs/small --out runs/small-half
# Trained on: 2,505 steps.
xfm pretrain --recipe small-longer --init.model runs/small-half/model --out runs/longer --training.minutes 45
python -m benchmarks.box half runs/longer --out runs/box
xfm evaluate runs/box --world worlds/emoji --minutes 18 --scratch false --out runs/box
python -m benchmarks.box install runs/box small results/small.sh
