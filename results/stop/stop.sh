set -eu
# The stop before language, on two cores: the language encoder, five seeds of four arms, three of two with MiniLM.
xfm prepare --out worlds/emoji
python -m pip download --no-deps --dest build vaderSentiment==0.5
export PYTHONPATH=.
python results/stop/texts.py worlds/texts build/vaderSentiment-0.5.zip worlds/emoji
xfm pretrain --recipe results/stop/language.yaml --root worlds/emoji --out runs/stop/language
python results/stop/run.py results/stop/arms.yaml runs/stop/language/model worlds/texts worlds/emoji \
    build/vaderSentiment-0.5.zip runs/stop/arms
xfm init --language all-minilm-l6-v2 --vision fresh --recipe nano runs/stop/minilm
python results/stop/run.py results/stop/arms-minilm.yaml runs/stop/minilm worlds/texts worlds/emoji \
    build/vaderSentiment-0.5.zip runs/stop/arms-minilm
cat runs/stop/arms/results.csv > results/stop.csv
cat runs/stop/arms/start.csv > results/stop-start.csv
python -m benchmarks.crossed results/stop/arms.yaml runs/stop/arms results/stop-crossed.csv
python -m benchmarks.arm_pictures results/stop.csv results/stop/arms.yaml docs/images/stop.png
cat runs/stop/arms-minilm/results.csv > results/stop-minilm.csv
cat runs/stop/arms-minilm/start.csv > results/stop-minilm-start.csv
python -m benchmarks.crossed results/stop/arms-minilm.yaml runs/stop/arms-minilm results/stop-minilm-crossed.csv
