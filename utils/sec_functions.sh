#!/usr/bin/env bash
# Functions for the stages of sec.sh, which sources this file; its variables are the options of sec.sh.
# shellcheck disable=SC2154 # they are set in sec.sh

die() { echo "sec.sh: error: $*" >&2; exit 1; }
log() { echo "$(date '+%H:%M:%S') $*"; }
need() { [ -e "$1" ] || die "$1 is missing: run stage $2 first (--stage $2 --stop-stage $2)"; }
# list_options: all options of sec.sh as they are now, and what is derived from them -> array recipe_options
list_options() {
    local name IFS=$' \n'
    recipe_options=()
    for name in $(sed -nE 's/^  --([a-z_]+) .*/\1/p' <<< "${help_message}") feats_dir feats_scp decode_dir lm_prompts trained_set; do
        case ${name} in
            *_args | *_opts) split "${!name}"; recipe_options+=("${name}=$(IFS=$'\x1f'; echo "${parts[*]}")") ;;
            *) recipe_options+=("${name}=${!name}") ;;
        esac
    done
}
# check_recipe [OPTIONS]: sec_check with these
check_recipe() {
    list_options
    env -u SEC_RUN python3 -m espnet2_secap.bin.sec_check "$@" "${recipe_options[@]}"
}
# runs STAGE [SKIP]: whether a stage is chosen, and not skipped
runs() { [ "${stage}" -le "$1" ] && [ "${stop_stage}" -ge "$1" ] && ! "${2:-false}"; }
# stage_begins N TITLE: print it, and measure time and memory of stage N until the next one begins or this script ends.
# However the script ends (kill -9 apart), it then prints a table of its stages. What its outputs are made from is noted.
stage_begins() {
    stage_ends
    if [ -z "${stages_file:-}" ]; then
        stages_file=${expdir}/.stages.tsv
        trap stages_end EXIT
        case "${train_cmd} ${cuda_cmd} ${decode_cmd}" in
            *slurm.pl*) ;; # its jobs run on other machines: no memory
            *) watch_memory & stages_watcher=$! ;;
        esac
    fi
    # no run fails because it cannot be measured
    stages begin --stage "$1" --title "$2" ${stage_now:+--ended "${stage_now}"} || true
    stage_now=$1
    log "Stage $1: $2"
}
# stage_ends: check what stages 1 and 2 have made, if one of them has begun last
stage_ends() {
    local dset
    [ -n "${recipe_options:-}" ] && [ -n "${stage_now:-}" ] && [ "${stage_now}" -le 2 ] || return 0
    if [ "${stage_now}" = 1 ]; then
        for dset in "${sets[@]}"; do
            [ -s "$(source_of "${dset}")/wav.scp" ] || die "data/${dset}/wav.scp: local/data.sh ended well and did not make it"
        done
    fi
    [ "${stop_stage}" -le "${stage_now}" ] || check_recipe --again $((stage_now + 1)) || exit 1
}
stages() {
    local action=$1; shift
    env -u SEC_RUN python3 -m espnet2_secap.bin.sec_stages "${action}" --file "${stages_file}" --run "${SEC_RUN}" "$@" \
        ${recipe_options:+--recipe "${recipe_options[@]}"}
}
watch_memory() {
    [ -z "${lock_fd:-}" ] || exec {lock_fd}>&- # it does not keep the lock, nor standard output, from being closed
    exec env -u SEC_RUN python3 -m espnet2_secap.bin.sec_stages watch --file "${stages_file}" --run "${SEC_RUN}" \
        --pid $$ < /dev/null > /dev/null
}
stages_end() {
    local status=$?
    [ -z "${stages_watcher:-}" ] || { kill "${stages_watcher}" && wait "${stages_watcher}"; } 2> /dev/null || true
    [ "${status}" = 0 ] || stage_now=
    stages end --status "${status}" ${stage_now:+--ended "${stage_now}"} || true
}
# unique NAME ...: each once, one per line
unique() { printf '%s\n' "$@" | awk 'NF && !seen[$0]++'; }
# read_sets: the names of the test sets -> array own_tests, with those of other corpora -> array tests, of which zero_shot
# has the data directories; of all sets -> array sets, each once, whatever roles it has; the training set with its copies
# -> trained_set; the sets that get copies -> array copied_sets (with --folds all, since each is trained on in some fold),
# and those that become features -> array fed_sets; and what can be wrong in options that hold options
read_sets() {
    local option word name
    # shellcheck disable=SC2206
    own_tests=(${test_sets})
    mapfile -t own_tests < <(unique "${own_tests[@]}")
    tests=("${own_tests[@]}")
    declare -gA zero_shot=()
    for word in ${zero_shot_sets}; do
        name=$(basename "${word}")
        [[ ! ${word} =~ ^([^/=]+)=(.+)$ ]] || { name=${BASH_REMATCH[1]} word=${BASH_REMATCH[2]}; }
        zero_shot[${name}]=${word} tests+=("${name}")
    done
    mapfile -t tests < <(unique "${tests[@]}")
    # shellcheck disable=SC2034 # sec.sh reads it
    mapfile -t sets < <(unique "${train_set}" "${valid_set}" "${tests[@]}")
    copies=${speed_perturb:+_sp${speed_perturb// /_}}${noise_snr:+_noise${noise_snr// /_}}
    copies+=${augment:+_aug_$(tr -s ', ' '_' <<< "${augment//=/}")}
    trained_set=${train_set}${copies}
    # shellcheck disable=SC2034 # sec.sh reads them
    if [ -n "${folds}" ]; then
        copied_sets=("${sets[@]}") fed_sets=("${sets[@]/%/${copies}}")
    else
        copied_sets=("${train_set}")
        mapfile -t fed_sets < <(unique "${trained_set}" "${valid_set}" "${tests[@]}")
    fi
    # shellcheck disable=SC2034 # sec.sh reads it
    [ -n "${copies}" ] || copied_sets=()
    for option in local_data_opts format_args extract_args align_args caption_args inference_args score_args; do
        split "${!option}" "--${option}"
    done
}
# name_folds: the folder of --folds, --fold_by and --fold_seed -> fold_dir
name_folds() {
    fold_dir=folds/${folds}
    [ "${fold_by}" = recording ] || fold_dir+=_${fold_by}
    [ "${fold_seed}" = 0 ] || fold_dir+=_seed${fold_seed}
}
# set_normalize: the options of sec_train for --feats_normalize -> array normalize
set_normalize() {
    case ${feats_normalize} in
        utterance_mvn) normalize=(--normalize utterance_mvn) ;;
        global_mvn) normalize=(--normalize global_mvn --normalize_conf "stats_file=${stats_file}") ;;
        *) normalize=() ;;
    esac
}
# read_condition: what the decoder reads of an utterance (model_conf condition), by blanks -> lm_reads; and an option of
# sec_train and sec_inference -> array empty_text
read_condition() {
    lm_reads=$(env -u SEC_RUN python3 -m espnet2_secap.bin.sec_check --show condition "${recipe_options[@]}") || exit 1
    # shellcheck disable=SC2034 # sec.sh reads it
    [ "${missing_text}" = empty ] && empty_text=(--missing_text empty) || empty_text=()
}
hears() { [[ " ${lm_reads} " = *" queries "* ]]; }
reads_clues() { [[ " ${lm_reads} " = *" clues "* ]]; }
reads_text() { [[ " ${lm_reads} " = *" t"* ]]; } # transcript or text_queries
# has_bridge [STAGE]: whether a bridge makes what is read; if not, and a stage is named, say that it is left out
has_bridge() {
    [[ ${lm_reads} != *queries* ]] || return 0
    [ -z "${1:-}" ] || log "Stage $1 is left out: the decoder reads the ${lm_reads} alone, and no bridge is trained"
    return 1
}
# role_of SET: as what stage 2 formats it. A validation set that is also a test set is scored, and so a test set.
role_of() {
    [ "$1" != "${train_set}" ] || { echo train; return; }
    case " ${tests[*]} " in *" $1 "*) echo "test" ;; *) echo valid ;; esac
}
# split VALUE [OPTION]: the words of VALUE, options of a program, -> array parts. Quotes around a word, or around what
# follows its =, hold blanks together; elsewhere they are letters. Nothing is expanded.
split() {
    local rest=$1 key="^[[:space:]]*([^[:space:]\"']*=)?" end='([[:space:]]|$)'
    parts=()
    while [[ ${rest} =~ [^[:space:]] ]]; do
        if [[ ${rest} =~ ${key}\"([^\"]*)\"${end} || ${rest} =~ ${key}\'([^\']*)\'${end} ]]; then
            parts+=("${BASH_REMATCH[1]}${BASH_REMATCH[2]}")
        else
            ! [[ ${rest} =~ ${key}[\"\'] ]] || die "${2:-options} $1: a quotation mark is not closed at a word's end"
            [[ ${rest} =~ ^[[:space:]]*([^[:space:]]+) ]]
            parts+=("${BASH_REMATCH[1]}")
        fi
        rest=${rest:${#BASH_REMATCH[0]}}
    done
}
# source_of SET: its data directory
source_of() { echo "${zero_shot[$1]:-data/$1}"; }
# format_set SET: its data directory -> dump/raw/SET
format_set() {
    local dset=$1 utts=wav.scp n format data
    data=$(source_of "${dset}")
    need "${data}/wav.scp" 1
    utils/validate_data_dir.sh "${data}" --require captions --allow_pipes "${allow_pipes}" --missing_text "${missing_text:-empty}"
    [ ! -e "${data}/segments" ] || utts=segments
    n=$(at_most "${nj}" "${data}/${utts}" --nj)
    format=(sec_format_audio --data_dir "${data}" --output_dir "${dumpdir}/raw/${dset}" --role "$(role_of "${dset}")"
        --fs "${fs}" --audio_format "${audio_format}" --min_wav_duration "${min_wav_duration}"
        --max_wav_duration "${max_wav_duration}" --allow_pipes "${allow_pipes}" --nj "$n"
        --missing_text "${missing_text:-empty}" ${emotion_map:+--emotion_map "${emotion_map}"})
    split "${format_args}" && format+=("${parts[@]}")
    jobs "${train_cmd}" "$n" "${dumpdir}/raw/${dset}/logs/format.JOB.log" "${format[@]}" --job JOB
    "${format[@]}" --combine true
}
# add_copies SET: dump/raw/SET_COPIES from dump/raw/SET, with the copies that --speed_perturb, --noise_snr
# and --augment ask for
add_copies() {
    local raw=${dumpdir}/raw perturb=(python3 -m espnet2_secap.bin.sec_perturb_audio)
    perturb+=(--data_dir "${raw}/$1" --output_dir "${raw}/$1${copies}")
    split "${speed_perturb}" --speed_perturb
    perturb+=(--speed_perturb "${parts[@]}")
    split "${noise_snr}" --noise_snr
    perturb+=(--noise_snr "${parts[@]}")
    split "${augment}" --augment
    job "${train_cmd}" "${raw}/$1${copies}/logs/perturb.log" "${perturb[@]}" --augment "${parts[@]}"
}
# at_most N FILE OPTION: N, the value of OPTION, or the number of lines of FILE if that is smaller
at_most() {
    local n; n=$(wc -l < "$2")
    [ "$n" -lt "$1" ] || { echo "$1"; return; }
    echo "note: $3 $1: only $n utterances in $2, so $n jobs" >&2
    echo "$n"
}
# suffix_of conf/caption_large.yaml caption: _large; of conf/caption.yaml: nothing
suffix_of() { local name; name=$(basename "$1" .yaml); name=${name#"$2"}; echo "${name:+_${name#_}}"; }
# jobs CMD N LOG COMMAND ... JOB: run COMMAND N times in parallel; if one fails, print its error messages
jobs() {
    local cmd=$1 n=$2 logs=$3; shift 3
    # shellcheck disable=SC2086 # cmd holds options
    ${cmd} JOB=1:"$n" "$logs" "$@" && return
    find "$(dirname "${logs}")" -name "$(basename "${logs//JOB/*}")" -exec grep -hE ' error: ' {} + | sort -u >&2 || true
    exit 1
}
# job CMD LOG COMMAND ...: run COMMAND once, and print its output
job() {
    local cmd=$1 log=$2; shift 2
    jobs "${cmd}" 1 "${log}" "$@"
    grep -v '^#' "${log}" || true
}

# score REFERENCES FOLDER [TRAIN_CAPTIONS]: FOLDER/captions against the captions, and the labels, of a data directory
score() {
    local corpus=${zero_shot[$(basename "$2")]:-}
    split "${score_args}"
    job "${train_cmd}" "$2/logs/score.log" \
        sec_score --ref "$1/captions" --hyp "$2/captions" --lang "${lang}" --output "$2/score.json" --truth_dir "$1" \
        ${3:+--train_captions "$3"} ${segment:+--segment "${segment}"} ${words:+--words "${words}"} \
        ${lm_prompts:+--prompts "${lm_prompts}"} "${parts[@]}" ${corpus:+--zero_shot "${corpus}"}
}
# report FOLDER: RESULTS.md of all scores in it
report() { sec_report --expdir "$1" --output "$1/RESULTS.md" ${goals:+--goals "${goals}"} ${quote:+--quote "${quote}"}; }

# train EXP_DIR CONFIG ARGS DATA ...: one training stage by ESPnet's launcher, with its progress on this terminal.
# DATA are names and files of dump/raw, as in "caption,captions emotion,utt2emo"; missing files are omitted.
train() {
    local exp=$1 config=$2 args=$3 names=$4 data=() processes=() split dset name path threads; shift 4
    for split in train valid; do
        dset=${trained_set}; [ "${split}" = train ] || dset=${valid_set}
        if [[ " ${args} " != *" --${split}_shape_file "* ]]; then # which may be that of some of the utterances
            need "${sec_stats_dir}/${dset}/speech_shape" 4
            data+=(--"${split}"_shape_file "${sec_stats_dir}/${dset}/speech_shape")
        fi
        data+=(--"${split}"_data_path_and_name_and_type "${feats_dir}/${dset}/${feats_scp},speech,${feats_file_type}")
        for name in ${names}; do
            path=${dumpdir}/raw/${dset}/${name#*,}
            [ "${name}" != text,text ] || path=${train_text_file:-${path}}
            [ ! -f "${path}" ] || data+=(--"${split}"_data_path_and_name_and_type "${path},${name%,*},text")
        done
    done
    mkdir -p "${exp}"
    find "${exp}" -maxdepth 1 -name '.dist_init_*' -delete # left by a killed run
    threads=${train_threads:+ --num_threads ${train_threads}}
    [ "${ngpu}" -gt 0 ] || processes=(--train_nproc "${train_nproc}") # GPUs have one process each
    split "${args}"
    sec_follow --log "${exp}/train.log" -- \
        "${python}" -m espnet2.bin.launch --cmd "${cuda_cmd} --name $(printf %q "$(basename "${exp}")")${threads}" \
        --log "${exp}/train.log" --ngpu "${ngpu}" --num_nodes "${num_nodes}" \
        --init_file_prefix "${exp}/.dist_init_" --multiprocessing_distributed true -- \
        "${python}" -m espnet2_secap.bin.sec_train --config "${config}" --output_dir "${exp}" --resume true \
        "${processes[@]}" "${data[@]}" "${normalize[@]}" "$@" "${parts[@]}" 2> "${exp}/launch.log" && return
    grep -hE ' error: |: stopped by ' "${exp}/train.log" | sort -u >&2 || tail -n 15 "${exp}/train.log" "${exp}/launch.log" >&2
    die "training ended early; the complete log is ${exp}/train.log"
}
