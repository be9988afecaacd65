#!/usr/bin/env bash
# EMOSpeech: the public recordings with acoustic descriptors and a mini LLaMA. db.sh names the corpus.
# With the full corpus and the paper's sizes (hub models, GPUs):
#   ./run.sh --local_data_opts "--mini_parts false" --upstream hf_hubert_custom --extract_args "" \
#       --upstream_path TencentGameMate/chinese-hubert-large --inference_config conf/decode_secap.yaml \
#       --feats_tag chinese_hubert_large --align_config conf/align_large.yaml --caption_config conf/caption_large.yaml \
#       --ngpu 8 --gpu_inference true --feats_normalize "" \
#       --align_model valid.loss.best.pth --inference_model valid.loss.best.pth
set -euo pipefail

exec ./sec.sh \
    --train_set train \
    --valid_set valid \
    --test_sets "test" \
    --nj 2 \
    --inference_nj 1 \
    --train_threads 1 \
    --upstream acoustic \
    --upstream_path "" \
    --extract_args "--encoder_conf acoustic.level=utterance --encoder_conf acoustic.frame_shift=16000" \
    --feats_normalize global_mvn \
    --align_model latest.pth \
    --inference_model latest.pth \
    --goals conf/goals.json \
    --quote secap \
    "$@"
