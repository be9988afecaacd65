#!/usr/bin/env bash
# AlignCap, stage by stage (docs/aligncap.md): 1-5 as SECap, 6 captioning with KD-Regularization, 7 and 8 its captions and
# scores, 9 preference pairs, 10 the reference's log-probabilities, 11 PO-Regularization, 12 captions, scores, controls.
# Each stage is run.sh with other options; those of your own go into --options: --options "--ngpu 1 --zero_shot_sets DIR"
set -euo pipefail

# General
stage=1              # first stage to run
stop_stage=12        # last stage to run
options=             # further options of run.sh, for all stages
expdir=exp/aligncap  # models, pairs, captions, scores
align_exp=           # first stage; in expdir if empty. That of SECap, where it is trained on the same captions
align_model=valid.loss.best.pth # model file of it
distill_exp=         # model of stage 6; in expdir if empty. Any captioning model, for stages 9 to 12
prefer_exp=          # model of stage 11; in expdir if empty
feats_tag=hubert     # name of the features in dump/
model=valid.loss.best.pth # model file of each training that is gone on with
train_set=train
valid_set=valid
test_sets="test"     # names, in one argument
nj=2                 # parallel jobs in stages 9 and 10
seed=0               # of training, decoding, and all that is drawn
folds=               # all of it in so many folds of cross-validation, as run.sh --folds; the captions are scored together
fold_jobs=2          # folds that run at the same time
# Captions
caption_fraction=1   # of each category, the share of training utterances whose captions are known
captioned=           # file of their ids instead
wrong_captions=0     # share of the known captions in which a word is swapped for a wrong one, to see what becomes of it
taught=0             # captions that the LM writes of each other utterance, from transcription and labels; 0: it is left out
# Training and decoding
align_args=          # options of sec_train for the first stage
model_args=          # for all trainings after it: "--model_conf condition=[queries,clues] --model_conf attributes_weight=0.3"
clues=               # of models that read clues, what they are given when they write captions: predicted, retrieved, none, ...
inference_args=      # options of sec_inference for captions that are scored
distill_config=conf/distill.yaml # KD-Regularization
distill_args=                    # further options of sec_train
# Preferences
pairs_set=           # training set whose recordings are sampled and trained on: copies with noise, for example; train_set if empty
pairs_dir=           # pairs.jsonl, and what is made of it; in expdir if empty
samples_config=conf/decode_samples.yaml # decoding of the training set, whose candidates are ranked
samples_args=                    # further options of sec_inference
pairs_config=conf/pairs.yaml     # options of sec_pairs make
pairs_args=                      # further ones
held_out=0.1                     # share of the utterances with pairs for validation
prefer_config=conf/prefer.yaml   # PO-Regularization
prefer_args=
controls="ce best rejection"     # also: more cross entropy, best of n, cross entropy on the best of n
control_config=conf/caption_further.yaml # of the trained controls: as many steps as stage 11
control_args=
best_of=8                        # n of the control best

help_message=$(sed -n '/^# General/,/^help_message/{/^help_message/d;p}' "$0" | sed -E 's/^([a-z_]+)=(.*)$/  --\1 \2/')
[ -f ./path.sh ] || { echo "aligncap.sh: error: run it from a recipe's folder, such as egs2/mini_emospeech/sec1" >&2; exit 1; }
{ # bash reads all of this before it runs any of it
. ./path.sh
arguments=("$@")
. utils/parse_options.sh
. ./cmd.sh
. utils/sec_functions.sh
set -f
die() { echo "aligncap.sh: error: $*" >&2; exit 1; }
[ $# -eq 0 ] || die "unexpected argument '$1'; options are --name value"
split "${options}" --options
given=("${parts[@]}")
own=" stage stop_stage folds expdir align_exp align_model sec_exp train_set valid_set test_sets feats_tag inference_model
    pretrained_model align_args caption_config caption_args inference_args "
fold_by=recording fold_seed=0 # how run.sh divides, as its options say
for ((k = 0; k < ${#given[@]}; k++)); do
    [[ ${given[k]} = --* ]] || continue
    name=${given[k]#--}
    case ${name//-/_} in
        fold_by) fold_by=${given[k + 1]:-} ;;
        fold_seed) fold_seed=${given[k + 1]:-} ;;
    esac
    [[ ! ${own} =~ [[:space:]]${name//-/_}[[:space:]] ]] ||
        die "--options: ${given[k]} is set by aligncap.sh; choose one of its own options (--help)"
done
known_args=(--caption_fraction "${caption_fraction}" --wrong_captions "${wrong_captions}")
[ -z "${captioned}" ] || known_args=(--utt_list "${captioned}" --wrong_captions "${wrong_captions}")
set_tag=${expdir#exp/}
set_tag=${train_set}_${set_tag//[^A-Za-z0-9._-]/_} # sets that are made here
known=${train_set} # the training set with the captions that are known
[ "${caption_fraction} ${captioned} ${wrong_captions}" = "1  0" ] || known=${set_tag}_known
learned=${known} # that of stage 6
[ "${taught}" = 0 ] || learned=${set_tag}_taught
[ -n "${align_exp}" ] || align_exp=${expdir}/sec_align
distill_exp=${distill_exp:-${expdir}/sec_distill} prefer_exp=${prefer_exp:-${expdir}/sec_prefer} pairs_dir=${pairs_dir:-${expdir}/pairs}
start=${distill_exp}/${model}
of_pairs=${pairs_set:-${train_set}} # the recordings that pairs are of, and the set with their captions
captions_of_pairs=${pairs_set:-${known}}
[ -z "${folds}" ] || [ -z "${pairs_set}" ] || die "--pairs_set ${pairs_set}: is one set, and with --folds each fold has its own"
read_clues=${clues:+ --clues ${clues}}
# what stage 6 makes these models from, as later stages check it
distilled=(--train_set "${learned}" --caption_config "${distill_config}" --pretrained_model "${align_exp}/${align_model}"
    --caption_args "--seed ${seed} ${model_args} ${distill_args}")
data=()
for part in train valid; do
    data+=("--${part}_shape_file" "${pairs_dir}/reference/shape.${part}")
    data+=("--${part}_data_path_and_name_and_type" "${pairs_dir}/reference/pairs.${part},pairs,text")
    [ -z "${clues}" ] || data+=("--${part}_data_path_and_name_and_type" "${pairs_dir}/clues,clues,text")
done
preferred=(--train_set "${of_pairs}" --valid_set "${of_pairs}" --caption_config "${prefer_config}" --pretrained_model "${start}"
    --caption_args "--seed ${seed} ${data[*]} ${model_args} ${prefer_args}")

# recipe FIRST LAST OPTION ...: run.sh from stage FIRST to stage LAST
recipe() {
    local first=$1 last=$2; shift 2
    [ "${first}" -le "${last}" ] || return 0
    ./run.sh --train_set "${known}" --valid_set "${valid_set}" --test_sets "${test_sets}" --feats_tag "${feats_tag}" \
        --expdir "${expdir}" --align_exp "${align_exp}" --inference_model "${model}" "${given[@]}" "$@" \
        --stage "${first}" --stop_stage "${last}"
}
words=() # that name emotions, ...
[ ! -f conf/words.json ] || words=(--words conf/words.json)
program() { python3 -m "espnet2_secap.bin.$1" "${@:2}"; }
# caption_set NAME SET OPTION ...: SET, but some utterances have other captions, or are left out
caption_set() {
    program sec_caption_set --folders "dump/raw/$2" "dump/${feats_tag}/$2" --name "$1" --seed "${seed}" "${words[@]}" "${@:3}"
    recipe 4 4 --train_set "$1"
}
# caption FIRST LAST EXP OPTION ...: a captioning model is trained (6), its captions (7) and their scores (8)
caption() { recipe "$1" "$2" --sec_exp "$3" --inference_args "--seed ${seed}${read_clues} ${inference_args}" "${@:4}"; }
no_baselines=(--baselines false) # stage 8 has scored them; sets of stage 12 have captions that a model wrote
best=(--inference_tag best --inference_config "${samples_config}"
    --inference_args "--seed ${seed} --num_candidates ${best_of} --best_of ${best_of}${read_clues}")
# sample EXP SET TAG CONFIG ARGS OPTION ...: several captions of each utterance of a training set, and of no other
sample() {
    caption 7 7 "$1" --test_sets "$2" --zero_shot_sets "" --inference_tag "$3" --inference_config "$4" \
        --inference_args "--seed ${seed} $5" --shuffled_audio false "${@:6}"
}
# in_jobs CMD LOG COMMAND ...: COMMAND in --nj jobs, and once more to combine them
in_jobs() {
    local cmd=$1 log=$2; shift 2
    jobs "${cmd}" "${nj}" "${log}" "$@" --nj "${nj}" --job JOB
    "$@" --nj "${nj}" --combine true
}

# in_folds: this script in each fold, which is a recipe folder (utils/sec_folds.sh)
in_folds() {
    name_folds # -> fold_dir
    local logs=${fold_dir}/logs/aligncap_${expdir##*/}.JOB.log name k
    folded() {
        ./run.sh --feats_tag "${feats_tag}" --inference_model "${model}" --fold_jobs "${fold_jobs}" "${given[@]}" \
            --folds "${folds}" "$@"
    }
    # stage 4 in any case: it gives each fold a run.sh with these options
    folded --stage "$((stage < 4 ? stage : 4))" --stop_stage "$((stop_stage < 4 ? stop_stage : 4))"
    [ "${stop_stage}" -ge 5 ] || return 0
    # shellcheck disable=SC2016
    if ! run.pl --max_jobs_run "${fold_jobs}" JOB=1:"${folds}" "${logs}" bash -c 'cd "$1" && ./run_aligncap.sh "${@:2}"' fold \
        "${fold_dir}/JOB" "${arguments[@]}" --folds "" --nj 1 --stage "$((stage > 4 ? stage : 4))" --stop_stage "${stop_stage}"; then
        for ((k = 1; k <= folds; k++)); do grep -hE ' error: ' "${logs/JOB/$k}" | tail -n 1 | sed "s/^/fold $k: /" >&2 || true; done
        exit 1
    fi
    ! runs 8 || folded --stage 8 --stop_stage 8 --sec_exp "${distill_exp}"
    runs 12 || return 0
    folded --stage 8 --stop_stage 8 --sec_exp "${prefer_exp}"
    for name in ${controls}; do
        case ${name} in
            best) folded --stage 8 --stop_stage 8 --sec_exp "${distill_exp}" "${best[@]}" ;;
            *) folded --stage 8 --stop_stage 8 --sec_exp "${expdir}/sec_${name}" ;;
        esac
    done
}

if [ -n "${folds}" ]; then in_folds; exit; fi
recipe "${stage}" "$((stop_stage < 3 ? stop_stage : 3))" --train_set "${train_set}"
if runs 4; then
    recipe 4 4 --train_set "${train_set}"
    [ -z "${pairs_set}" ] || recipe 4 4 --train_set "${pairs_set}"
    [ "${known}" = "${train_set}" ] || caption_set "${known}" "${train_set}" "${known_args[@]}"
fi
! runs 5 || recipe 5 5 --align_args "--seed ${seed} ${align_args}"

if runs 6; then
    if [ "${taught}" != 0 ]; then
        log "Stage 6: the LM writes captions of the utterances without any, from transcription and labels"
        teacher=${expdir}/sec_teacher
        mkdir -p "${teacher}"
        program sec_clues --labels "dump/raw/${train_set}" "${words[@]}" --output "${teacher}/clues"
        of_text=(--skip_align true --caption_args "--model_conf {} --model_conf condition=[transcript,clues]")
        caption 6 6 "${teacher}" "${of_text[@]}" --inference_args ""
        sample "${teacher}" "${train_set}" taught conf/decode_taught.yaml "--num_candidates ${taught} --clues ${teacher}/clues" "${of_text[@]}"
        caption_set "${learned}" "${train_set}" "${known_args[@]}" --captions "${teacher}/decode_taught/${train_set}/captions"
    fi
    caption 6 6 "${distill_exp}" "${distilled[@]}"
fi
! runs 7 || caption 7 7 "${distill_exp}" "${distilled[@]}"
! runs 8 || caption 8 8 "${distill_exp}" "${distilled[@]}"

if runs 9; then
    log "Stage 9: preference pairs of ${of_pairs} -> ${pairs_dir}"
    sample "${distill_exp}" "${of_pairs}" samples "${samples_config}" "${samples_args}${read_clues}" "${distilled[@]}"
    mkdir -p "${pairs_dir}"
    [ -z "${clues}" ] || program sec_clues --decoded "${distill_exp}/decode_samples/${of_pairs}" --output "${pairs_dir}/clues"
    split "${valid_set} ${test_sets}"
    others=("${parts[@]/#/dump/raw/}")
    split "${pairs_args}" --pairs_args
    in_jobs "${train_cmd}" "${pairs_dir}/logs/pairs.JOB.log" python3 -m espnet2_secap.bin.sec_pairs make \
        --candidates "${distill_exp}/decode_samples/${of_pairs}" --data_dir "dump/raw/${of_pairs}" \
        --captions "dump/raw/${captions_of_pairs}/captions" --not_in "${others[@]}" --config "${pairs_config}" \
        --seed "${seed}" --output_dir "${pairs_dir}" "${words[@]}" "${parts[@]}"
    program sec_pairs report "${words[@]}" --pairs "${pairs_dir}/pairs.jsonl" --output "${pairs_dir}/PAIRS.md"
fi

if runs 10; then
    need "${pairs_dir}/pairs.jsonl" 9
    log "Stage 10: log-probabilities by ${start} -> ${pairs_dir}/reference"
    in_jobs "${decode_cmd}" "${pairs_dir}/logs/reference.JOB.log" python3 -m espnet2_secap.bin.sec_reference --pairs "${pairs_dir}/pairs.jsonl" \
        --data_dir "dump/${feats_tag}/${of_pairs}" --sec_model_file "${start}" \
        --output_dir "${pairs_dir}/reference" --held_out "${held_out}" --seed "${seed}" \
        ${clues:+--clues_file "${pairs_dir}/clues"}
fi

if runs 11; then
    need "${pairs_dir}/reference/pairs.train" 10
    caption 6 6 "${prefer_exp}" "${preferred[@]}"
fi

if runs 12; then
    caption 7 8 "${prefer_exp}" "${preferred[@]}" "${no_baselines[@]}"
    for control in ${controls}; do
        log "Stage 12: control ${control}"
        case ${control} in
            ce) set_of=${pairs_set:-${learned}} ;;
            rejection)
                set_of=${set_tag}_best
                caption_set "${set_of}" "${of_pairs}" --caption_fraction 0 --captions "${pairs_dir}/captions"
                ;;
            best)
                caption 7 8 "${distill_exp}" "${distilled[@]}" "${best[@]}" "${no_baselines[@]}"
                continue
                ;;
            *) die "--controls: '${control}' is unknown; choose from: ce, best, rejection" ;;
        esac
        caption 6 8 "${expdir}/sec_${control}" --train_set "${set_of}" --caption_config "${control_config}" \
            --pretrained_model "${start}" --caption_args "--seed ${seed} ${model_args} ${control_args}" "${no_baselines[@]}"
    done
fi
log "Done: stages ${stage} to ${stop_stage}"
exit
}
