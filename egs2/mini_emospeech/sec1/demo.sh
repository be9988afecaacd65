#!/usr/bin/env bash
# What `make demo` runs: the whole recipe, then captions of two recordings of its test set by the trained model.
set -euo pipefail

model=exp/sec_caption_hubert # experiment folder of the second stage

./run.sh "$@"
. ./path.sh
mapfile -t recordings < <(head -n 2 dump/raw/test/wav.scp | cut -d ' ' -f 2-)
echo "Two recordings of the test set, captioned by ${model}:"
sec_caption --model "${model}" "${recordings[@]}"
echo "Your own: cd egs2/mini_emospeech/sec1 && . ./path.sh && sec_caption --model ${model} FILE_OR_FOLDER_OR_SCP ..."
