#!/usr/bin/env bash
# Mini pretrained parts, trained on a training set and nothing else: a HuBERT on its audio, a LLaMA on its captions.
set -eo pipefail

train_set=data/train  # data directory: wav.scp, captions, text
output=pretrained     # hubert/ and llama/ go here; a part that is there already, made from the same, is kept
pretrain_config=conf/pretrain.yaml  # sizes and steps
prompts=              # instructions, one per line; empty: those of the package, in Chinese

help_message="Usage: local/pretrain.sh [--train_set data/train] [--output pretrained]
                         [--pretrain_config conf/pretrain.yaml] [--prompts FILE]
Writes pretrained/hubert and pretrained/llama, ordinary transformers folders."

. ./path.sh
. utils/parse_options.sh
set -u

if [ $# -ne 0 ]; then
    echo "${help_message}" >&2
    exit 1
fi

mkdir -p "${output}"
# Both at once: each leaves a core idle half of the time.
python3 local/pretrain_llm.py --train_set "${train_set}" --output "${output}/llama" --config "${pretrain_config}" \
    --prompts "${prompts}" &
llm=$!
python3 local/pretrain_hubert.py --train_set "${train_set}" --output "${output}/hubert" --config "${pretrain_config}" ||
    { kill "${llm}" 2> /dev/null; exit 1; }
wait "${llm}"
