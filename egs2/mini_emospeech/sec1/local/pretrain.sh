#!/usr/bin/env bash
# Mini pretrained parts, trained on a training set and nothing else: a HuBERT on its audio, a LLaMA on its captions; where
# they are asked for, a CLAP audio model on both, a BART and a sentence encoder on its captions, and a model of speech
# emotion recognition (SER).
set -eo pipefail

train_set=data/train  # data directory: wav.scp, captions, text
output=pretrained     # hubert/ and llama/ go here; a part that is there already, made from the same, is kept
pretrain_config=conf/pretrain.yaml  # sizes and steps
seed=                 # of all that is drawn; empty: the configuration's, 0 if it has none
hubert=true           # false: a LLaMA alone, where features are made without HuBERT
# shellcheck disable=SC2034 # read by its name below
clap=false            # also a CLAP audio model (HTSAT)
# shellcheck disable=SC2034 # read by its name below
bart=false            # also a BART
ser=false             # also a SER model, from the HuBERT and utt2emo
# shellcheck disable=SC2034 # read by its name below
text_encoder=false    # also a sentence encoder, a BERT (for SIM1)
prompts=              # instructions, one per line, or zh, en, ja; empty: those of sec.sh, by its --lang

help_message="Usage: local/pretrain.sh [--train_set data/train] [--output pretrained]
                         [--pretrain_config conf/pretrain.yaml] [--prompts FILE|zh|en|ja] [--seed N]
                         [--hubert true|false] [--clap true|false] [--bart true|false]
                         [--ser true|false] [--text_encoder true|false]
Writes pretrained/hubert, but with --hubert false, and pretrained/llama, and pretrained/clap, pretrained/bart,
pretrained/ser and pretrained/text_encoder where they are true: ordinary transformers folders."

. ./path.sh
. utils/parse_options.sh
set -u

if [ $# -ne 0 ]; then
    echo "${help_message}" >&2
    exit 1
fi

mkdir -p "${output}"
options=(--train_set "${train_set}" --config "${pretrain_config}" ${seed:+--seed "${seed}"})
pretrain_llm=(python3 local/pretrain_llm.py "${options[@]}" --output "${output}/llama" --prompts "${prompts:-${SEC_PROMPTS:-}}")
for part in clap bart text_encoder; do # the other parts alone: each has both cores
    if "${!part}"; then python3 "local/pretrain_${part}.py" "${options[@]}" --output "${output}/${part}"; fi
done
if "${hubert}"; then
    # Both at once: each computes on its own threads, and neither leaves a core idle.
    "${pretrain_llm[@]}" &
    llm=$!
    python3 local/pretrain_hubert.py "${options[@]}" --output "${output}/hubert" ||
        { kill "${llm}" 2> /dev/null; exit 1; }
    wait "${llm}"
else
    "${pretrain_llm[@]}"
fi
if "${ser}"; then
    python3 local/pretrain_ser.py "${options[@]}" --hubert "${output}/hubert" --output "${output}/ser"
fi
