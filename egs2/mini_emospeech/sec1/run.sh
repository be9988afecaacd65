#!/usr/bin/env bash
# mini_emospeech: a synthetic corpus and mini pretrained parts, made on the spot; nothing is downloaded.
# ./sec.sh --help prints all options. A filterbank run, which learns more slowly:
#   ./run.sh --stage 3 --upstream fbank --upstream_path "" --feats_tag fbank \
#       --align_args "--max_epoch 14" --caption_args "--max_epoch 18"
# The whole recipe with another seed (the corpus stays):
#   ./run.sh --local_data_opts "--pretrain_seed 1" --align_args "--seed 1" --caption_args "--seed 1" \
#       --inference_args "--seed 1"
set -euo pipefail

train_set=train
valid_set=valid
test_sets="test"

exec ./sec.sh \
    --train_set "${train_set}" \
    --valid_set "${valid_set}" \
    --test_sets "${test_sets}" \
    --nj 2 \
    --inference_nj 2 \
    --train_nproc 2 \
    --upstream hf_hubert_custom \
    --upstream_path pretrained/hubert \
    --feats_tag hubert \
    --inference_model valid.loss.ave.pth \
    --goals conf/goals.json \
    "$@"
