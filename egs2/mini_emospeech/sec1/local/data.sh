#!/usr/bin/env bash
# Stage 1 of mini_emospeech: a corpus made on the spot, and mini pretrained parts trained on its training set.
set -eo pipefail

n_train=1200      # utterances in each set
n_valid=100
n_test=200
emotional_sentences=0 # share of utterances whose sentence fits their emotion; half of the others contradict it
seed=0            # the same seed gives the same corpus, byte for byte
data=data         # where the sets go
words=conf/words.json
nj=2              # parallel processes of the synthesiser

mini_parts=true   # also make the mini HuBERT and the mini LLaMA
mini_hubert=true  # false: the mini LLaMA alone, for features without HuBERT
mini_clap=false   # also make a mini CLAP audio model (HTSAT), for --upstream clap
mini_bart=false   # also make a mini BART, for decoder: seq2seq
mini_ser=false    # also make a mini model of speech emotion recognition from the mini HuBERT, for sec_classify
mini_text_encoder=false # also make a mini sentence encoder (BERT), for SIM1
pretrained=pretrained
pretrain_config=conf/pretrain.yaml
pretrain_seed=    # of the mini parts; empty: that of pretrain_config, 0 if it has none
prompts=          # instructions, one per line, or zh, en, ja; empty: those of sec.sh

help_message="Usage: local/data.sh [--n_train 1200] [--n_valid 100] [--n_test 200] [--seed 0] [--nj 2]
                     [--emotional_sentences 0.5]
                     [--mini_parts true|false] [--pretrained pretrained] [--pretrain_config conf/pretrain.yaml]
                     [--pretrain_seed N] [--mini_hubert true|false] [--mini_clap true|false]
                     [--mini_bart true|false] [--mini_ser true|false]
                     [--mini_text_encoder true|false]
Writes data/{train,valid,test}, with utt2kind (fitting, neutral or contradicting) where sentences are emotional, data/wav and, with --mini_parts true, pretrained/{hubert,llama} (with --mini_hubert false,
no pretrained/hubert)."

. ./path.sh
. utils/parse_options.sh
set -u

if [ $# -ne 0 ]; then
    echo "${help_message}" >&2
    exit 1
fi

python3 local/synthesize.py --output "${data}" --words "${words}" --seed "${seed}" --nj "${nj}" \
    --emotional_sentences "${emotional_sentences}" \
    --n_train "${n_train}" --n_valid "${n_valid}" --n_test "${n_test}"

if "${mini_parts}"; then
    local/pretrain.sh --train_set "${data}/train" --output "${pretrained}" --hubert "${mini_hubert}" --prompts "${prompts}" \
        --clap "${mini_clap}" --bart "${mini_bart}" --ser "${mini_ser}" --text_encoder "${mini_text_encoder}" \
        --pretrain_config "${pretrain_config}" --seed "${pretrain_seed}"
fi
