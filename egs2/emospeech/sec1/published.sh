#!/usr/bin/env bash
# The released SECap weights on the public recordings: import, decode as published, score beside the paper's row and the
# released captions. Repeat the command to resume. Options of ./sec.sh go into --sec_args, in one argument.
#   EMOSPEECH=DIR ./published.sh --weights DIR --sec_args "--gpu_inference true"
set -euo pipefail

weights=      # folder with model.ckpt of yaoxunxu/SECaps
hubert=TencentGameMate/chinese-hubert-large  # HuBERT, LLaMA and text BERT: folders or hub names
llm=minlik/chinese-llama-7b-merged
text_encoder=shibing624/text2vec-base-chinese # also compares the eight candidates of an utterance
result_txt=   # captions that the released code wrote (its result.txt), to score beside ours
expdir=exp_published
inference_config=conf/decode_secap.yaml
lang=zh
sec_args=     # further options of sec.sh: "--gpu_inference true --inference_nj 2"

help_message=$(sed -nE '2,/^set/s/^# //p; /^help_message/q; s/^([a-z_]+)=(.*)$/  --\1 \2/p' "$0")
. ./path.sh
. utils/parse_options.sh
. utils/sec_functions.sh
die() { echo "published.sh: error: $*" >&2; exit 1; }
[ $# -eq 0 ] || die "unexpected argument '$1'; options are --name value, those of sec.sh within --sec_args"
[ -n "${weights}" ] || die "--weights is missing: give the folder that holds model.ckpt of yaoxunxu/SECaps"
[ -f "${weights}/model.ckpt" ] || die "--weights ${weights}: has no model.ckpt; get it from yaoxunxu/SECaps"
[ -z "${result_txt}" ] || [ -f "${result_txt}" ] || die "--result_txt ${result_txt}: no such file; check the path"
split "${sec_args}" --sec_args && further=("${parts[@]}")

dset=test_public # all public recordings: none was in the released model's training. "train" of the sanity rows as well
sec_exp=${expdir}/sec_secap_published
system=${expdir}/secap_released_captions/${dset}
options=(--expdir "${expdir}" --train_set "${dset}" --valid_set "${dset}" --test_sets "${dset}" --feats_type raw
    --sec_exp "${sec_exp}" --inference_model valid.loss.best.pth --inference_config "${inference_config}"
    --inference_args "--similarity_model \"${text_encoder}\"" --lang "${lang}" --probe false --quote secap)

for split in train valid test; do [ -s "data/${split}/wav.scp" ] || missing=true; done
[ -z "${missing:-}" ] || local/data.sh --mini_parts false
python3 -m espnet2_secap.bin.sec_data_dir combine "data/${dset}" data/train data/valid data/test
mkdir -p "${expdir}"
if [ ! -f "${sec_exp}/valid.loss.best.pth" ] || [ "${weights}/model.ckpt" -nt "${sec_exp}/valid.loss.best.pth" ]; then
    sec_import_secap --checkpoint "${weights}/model.ckpt" --hubert "${hubert}" --llm "${llm}" \
        --text_encoder "${text_encoder}" --output "${sec_exp}"
fi
./sec.sh "${options[@]}" --stage 2 --stop_stage 2 "${further[@]}"
if [ -n "${result_txt}" ]; then
    mkdir -p "${system}"
    sec_score --ref "dump/raw/${dset}/captions" --hyp "${result_txt}" --lang "${lang}" --output "${system}/score.json" \
        --truth_dir "dump/raw/${dset}" --train_captions "dump/raw/${dset}/captions"
fi
./sec.sh "${options[@]}" --stage 7 --stop_stage 8 "${further[@]}"
