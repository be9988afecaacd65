#!/usr/bin/env bash
# Stage 1 of mini_zeroshot, its only one: sets for tests of models that were trained on other corpora.
set -eo pipefail

size=      # utterances in each set; empty: as conf/sets.yaml says
seed=0     # the same seed gives the same corpus, byte for byte
data=data  # where the sets go
sets=conf/sets.yaml
words=conf/words.json
nj=2       # parallel processes of the synthesiser

help_message="Usage: local/data.sh [--size 400] [--seed 0] [--data data] [--sets conf/sets.yaml] [--nj 2]
Writes data/{new_voices,male,noisy,english}, with utt2condition where recordings are distorted, and data/wav. What is
there already and equal stays as it is."

. ./path.sh
. utils/parse_options.sh
set -u

if [ $# -ne 0 ]; then
    echo "${help_message}" >&2
    exit 1
fi

python3 local/synthesize.py --output "${data}" --sets "${sets}" --words "${words}" --seed "${seed}" --nj "${nj}" \
    ${size:+--size "${size}"}
