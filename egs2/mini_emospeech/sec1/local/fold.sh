#!/usr/bin/env bash
# Before stage 4 in the folder of a fold (sec.sh --folds): where the recipe has a mini LLaMA, one that knows the captions of
# this fold's training set only. The mini HuBERT stays the recipe's.
set -eo pipefail

. ./path.sh
set -u

[ -e pretrained/llama ] || exit 0
exec python3 local/pretrain_llm.py --train_set dump/raw/train --config conf/pretrain.yaml --output pretrained/llama \
    --prompts "${SEC_PROMPTS:-}"
