#!/usr/bin/env bash
# Before stage 4 in the folder of a fold (sec.sh --folds): where the recipe has made a mini LLaMA, one like it that knows the
# captions of this fold's training set only. The mini HuBERT, or an LM of other origin, stays the recipe's.
set -eo pipefail

. ./path.sh
set -u

recipe=../../..
[ -e "${recipe}/pretrained/llama/pretrain.json" ] || exit 0
exec python3 local/pretrain_llm.py --train_set dump/raw/train --like "${recipe}/pretrained/llama" --output pretrained/llama \
    --prompts "${SEC_PROMPTS:-}"
