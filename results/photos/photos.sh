set -eu
# Pictures, captions, licences and splits: on Debian 13, with pillow, numpy and resvg-py; 2.2 GB, ten minutes.
python results/photos/collect.py collected
# Pairs for training and the held-out splits; scenes of the drawings, with regions and twins.
python results/photos/variants.py collected photos/pairs
python results/photos/scenes.py collected photos/scenes
# The model, on two cores of an AMD EPYC (Zen 5). The commands go on with --resume.
xfm init --language all-minilm-l6-v2 --vision efficientnet-lite0 --recipe photos photos/init
xfm pretrain --recipe photos --root photos --init.model photos/init --out runs/names --training.minutes 58.5
xfm pretrain --recipe photos-fusion --root photos --init.model runs/names/model --out runs/fusion --training.minutes 52
xfm pretrain --recipe photos-matching --root photos --init.model runs/fusion/model --out runs/photos --training.minutes 92
# When a search finds nothing, fitted on what is held out; scores, beside those of the pair before its training.
export PYTHONPATH=.
python results/photos/absence.py runs/photos/model photos/pairs > build/absence.csv
python -m pip download --no-deps --dest build vaderSentiment==0.5
python results/photos/evaluate.py runs/photos photos/init photos/pairs photos/scenes \
    build/vaderSentiment-0.5.zip > results/photos.csv
cat build/absence.csv >> results/photos.csv
# What was trained goes into the package, with its card.
python results/photos/pack.py runs/photos collected results/photos.csv
