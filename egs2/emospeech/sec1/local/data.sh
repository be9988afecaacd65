#!/usr/bin/env bash
# Stage 1: EMOSpeech -> data/{train,valid,test}; then the mini LLaMA, and HuBERT if wanted, trained on data/train.
set -e
set -o pipefail

help_message="Usage: local/data.sh [options]      (from the recipe's folder; db.sh names the corpus)
  --train_ids FILE --valid_ids FILE --test_ids FILE   ids of the sets (default: dataset/{train,valid,test}.txt where
                       they are there, else valid and test are drawn with --seed, a tenth each)
  --labels FILE        'id emotion' lines (default: dataset/labels.txt, else the words of the captions)
  --seed N             of the split (default: 0)
  --mini_parts BOOL    train the mini LLaMA into pretrained/ (default: true)
  --pretrain_config FILE  sizes and steps of the mini parts (default: conf/pretrain.yaml)
  --mini_hubert BOOL   and the mini HuBERT (default: false; 7 minutes, for --upstream hf_hubert_custom)
  --mini_clap BOOL     and a mini CLAP audio model (default: false; for --upstream clap)
  --mini_bart BOOL     and a mini BART (default: false; for decoder: seq2seq)"
train_ids=
valid_ids=
test_ids=
labels=
seed=0
mini_parts=true
pretrain_config=conf/pretrain.yaml
mini_hubert=false
mini_clap=false
mini_bart=false

# shellcheck disable=SC1091
{
    . utils/parse_options.sh
    . ./path.sh
    . ./db.sh
}
set -u
if [ $# -ne 0 ]; then
    echo "${help_message}" >&2
    exit 2
fi

words=zh
if [ -f conf/words.json ]; then
    words=conf/words.json
fi
python3 local/data_prep.py --corpus "${EMOSPEECH}" --output data --words "${words}" --seed "${seed}" \
    --labels "${labels}" --train_ids "${train_ids}" --valid_ids "${valid_ids}" --test_ids "${test_ids}"
for dset in train valid test; do
    utils/validate_data_dir.sh "data/${dset}"
done

if "${mini_parts}" && [ -x local/pretrain.sh ]; then
    local/pretrain.sh --train_set data/train --output pretrained --hubert "${mini_hubert}" \
        --clap "${mini_clap}" --bart "${mini_bart}" --pretrain_config "${pretrain_config}"
fi
