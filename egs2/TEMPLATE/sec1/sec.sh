#!/usr/bin/env bash
# Speech emotion captioning, stage by stage. A recipe's run.sh calls this with its choices; every option below can
# also be given to run.sh: ./run.sh --stage 5 --stop-stage 6 --caption_args "--max_epoch 5"
set -euo pipefail

# General
stage=1              # first stage to run
stop_stage=8         # last stage to run
skip_data_prep=false # leave out stages 1 to 4
skip_train=false     # leave out stages 5 and 6
skip_align=false     # leave out stage 5: captioning from an untrained bridge
skip_eval=false      # leave out stages 7 and 8
skip_score=false     # leave out all of stage 8 but the sanity rows' captions
folds=               # cross-validation: divide the recordings of all sets into so many folds; empty: one split
fold_by=recording    # how they are divided: by recording, or by speaker (none is in two folds)
fold_seed=0          # of the division
fold_jobs=2          # folds that run at the same time
ngpu=0               # GPUs per node for training; 0: CPU
num_nodes=1          # nodes for training
train_nproc=1        # training processes per node on CPUs (ngpu 0)
nj=4                 # parallel jobs in stages 2 and 3
inference_nj=4       # parallel jobs in stage 7
gpu_inference=false  # one GPU per job in stages 3 and 7
train_threads=       # CPU threads for training on a node; if empty all CPUs, on Slurm conf/slurm.conf's default
dumpdir=dump         # audio and features
expdir=exp           # models, captions, scores
lock=.lock           # file that keeps two runs of a folder apart; another one for a run that shares no output
python=python3       # Python of the environment
# Data
train_set=train
valid_set=valid
test_sets="test"      # names, in one argument
zero_shot_sets=       # data directories of other corpora, decoded and scored too, by their last name or as NAME=FOLDER
local_data_opts=      # options of local/data.sh
audio_format=wav      # wav or flac, in dump/raw
fs=16000              # Hz
min_wav_duration=0.1  # seconds; training and validation utterances outside of these two are left out
max_wav_duration=30   # seconds
format_args=          # further options of sec_format_audio: "--skip_bad_test true --pipe_seconds 60"
missing_text=         # utterances without a transcription: empty (nothing said), skip (left out of train and valid), error; none: empty unless a model reads them
emotion_map=          # file of lines "label label": other names for labels of utt2emo
speed_perturb=        # factors of the speed of copies of the training set, for training: "0.95 1.05"
noise_snr=            # signal-to-noise ratios (dB) of copies of the training set with noise: "15 25"
augment=              # distortions of copies of the training set: "noise=5,15 reverb telephone reverb+noise"
allow_pipes=false     # run the commands (sox ... |) that wav.scp holds: whoever made it runs programs on this machine
# Speech features
feats_type=extracted  # extracted: stage 3 writes features; raw: the encoder runs in training
encoder=s3prl         # which encoder of espnet2_secap/tasks/parts.py makes the features
upstream=hf_hubert_custom # encoder s3prl: S3PRL's name of it, or an encoder's; side by side: acoustic+hf_hubert_custom
upstream_path=        # folder or hub name of the weights of the upstream that has some: S3PRL's, or clap
upstream_layer=last   # of S3PRL's upstreams: last, all (for a learned weighted sum), or a number
feats_dtype=float32   # float32 or float16
feats_tag=            # name in dump/ and exp/; made from the upstream and the layer if empty
extract_args=         # further options of sec_extract_feats: "--encoder_conf acoustic.level=frame --allow_pickle true"
batch_seconds=60      # seconds of speech in a batch of stage 3
feats_normalize=      # of stored features: global_mvn or utterance_mvn; none if empty
train_text_file=      # transcriptions of training and validation, of a recogniser for instance, instead of data/*/text
# Training
align_config=conf/align.yaml     # first stage
align_args=                            # further options of sec_train, first stage
align_model=valid.loss.best.pth        # model file of the first stage that stage 6 starts from and stage 8 probes
caption_config=conf/caption.yaml # second stage
caption_args=                          # further options of sec_train, second stage
sec_tag=              # name of the experiment; made from the configs' names if empty
align_exp=            # folder of the first stage; made from sec_tag if empty
sec_exp=              # folder of the second stage; made from sec_tag if empty
sec_stats_dir=        # folder of lengths
pretrained_model=     # FILE[:part,part] to start stage 6 from instead of stage 5's model: any model file of either stage
# Decoding and scoring
inference_config=conf/decode.yaml      # options of sec_inference
inference_args=                        # further ones
text_file=            # transcriptions to decode with where model_conf condition reads them: lines "id text"; else data/*/text
inference_tag=        # name of the decoding; made from the config's name if empty
inference_model=valid.loss.best.pth    # model file in the second stage's folder
shuffled_audio=true   # also caption each utterance from another's audio, as a sanity row
nearest_caption=true   # also caption each utterance as the training utterances nearest by the model's features
neighbours=0          # how many of these; 0: all, weighted by how near they are
baselines=true        # also score random captions of train_set and its most frequent one
probe=true            # linear probes for emotion and sentence on the first stage's embeddings
lang=zh               # language of the captions (zh, en, ja, ...): sets instructions, words, segmentation, metrics
prompts=              # instructions to the LM: a file, zh, en or ja; those of caption_config, else of lang, if empty
segment=              # how captions are cut for scoring: char, char_word, word, jieba or ptb; by lang if empty
words=                # words that name emotions ...: a file, zh, en, ja, none; conf/words.json, else of lang, if empty
score_args=           # further options of sec_score, in one argument: "--metrics bleu_4 sim1 --sim1 MODEL"
goals=                # file of numbers to reach, for the report
quote=                # paper whose results stand below ours in the report: secap, where the corpus is EMOSpeech

help_message=$(sed -n '/^# General/,/^help_message/{/^help_message/d;p}' "$0" | sed -E 's/^([a-z_]+)=(.*)$/  --\1 \2/')
[ -f ./path.sh ] || { echo "sec.sh: error: run it from a recipe's folder, such as egs2/mini_emospeech/sec1" >&2; exit 1; }
{ # bash reads all of this before it runs any of it: editing the file, or git pull, does not disturb a run
. ./path.sh
. utils/parse_options.sh
. ./cmd.sh
. utils/sec_functions.sh
set -f # what is split at blanks (local_data_opts, align_args, ...) is never matched against files
[ $# -eq 0 ] || die "unexpected argument '$1'; options are --name value"

[[ ${fs,,} =~ ^([0-9]+)(\.[0-9]{1,3})?k(hz)?$ ]] && zeros=${BASH_REMATCH[2]#.}000 && fs=${BASH_REMATCH[1]}${zeros:0:3} # 16k
[ "${encoder}" = s3prl ] && encoder_name=${upstream} || encoder_name=${encoder}
if [ "${feats_type}" = raw ]; then
    feats_tag=raw feats_scp=wav.scp feats_file_type=sound
else
    [ -n "${feats_tag}" ] || feats_tag=${encoder_name//+/_}$([ "${upstream_layer}" = last ] || echo "_${upstream_layer}")
    feats_scp=feats.scp feats_file_type=kaldi_ark
fi
feats_dir=${dumpdir}/${feats_tag}
[ -n "${align_exp}" ] || align_exp=${expdir}/sec_align_${sec_tag:-${feats_tag}$(suffix_of "${align_config}" align)}
[ -n "${sec_exp}" ] || sec_exp=${expdir}/sec_caption_${sec_tag:-${feats_tag}$(suffix_of "${caption_config}" caption)}
[ -n "${sec_stats_dir}" ] || sec_stats_dir=${expdir}/sec_stats_${feats_tag}
read_sets # -> tests, own_tests, zero_shot, sets, trained_set, fed_sets
stats_file=${sec_stats_dir}/${trained_set}/feats_stats.npz
set_normalize # -> normalize
decode_dir=${sec_exp}/decode${inference_tag:+_${inference_tag}}
[ -n "${inference_tag}" ] || decode_dir+=$(suffix_of "${inference_config}" decode)
[ -n "${train_threads}" ] || [ "${cmd_backend}" = slurm ] || train_threads=$(env -u OMP_NUM_THREADS nproc)
[ -n "${words}" ] || [ ! -f conf/words.json ] || words=conf/words.json
export SEC_PROMPTS=${prompts:-en} # of local/data.sh too, whose mini LM learns to follow them
[ -n "${prompts}" ] || [ ! -f "${MAIN_ROOT}/espnet2_secap/text/prompts_${lang}.txt" ] || SEC_PROMPTS=${lang}
lm_prompts=${prompts}
[ -n "${prompts}" ] || grep -qs '^prompts:' "${caption_config}" || lm_prompts=${SEC_PROMPTS}
"${gpu_inference}" && jobs_cmd="${cuda_cmd} --gpu 1" device=cuda || jobs_cmd=${decode_cmd} device=cpu
export SEC_RUN_PID=$$ # what is started here ends where this script is no more
exec {lock_fd}<>"${lock}" || die "--lock ${lock}: cannot be written"
SEC_RUN=$(sec_lock --fd "${lock_fd}" --file "${lock}" --pid $$) || exit 1
export SEC_RUN
check_recipe || exit 1
read_condition # -> lm_reads
mkdir -p "${dumpdir}" "${expdir}" || die "--dumpdir ${dumpdir}, --expdir ${expdir}: choose folders that can be written"

if runs 1 "${skip_data_prep}"; then
    stage_begins 1 "corpus -> data/"
    split "${local_data_opts}" && local/data.sh "${parts[@]}"
fi

if runs 2 "${skip_data_prep}"; then
    stage_begins 2 "format and check audio -> ${dumpdir}/raw"
    for dset in "${sets[@]}"; do format_set "${dset}"; done
    python3 -m espnet2_secap.bin.sec_compare_sets --train "${dumpdir}/raw/${train_set}" --valid "${dumpdir}/raw/${valid_set}" \
        --tests "${tests[@]/#/${dumpdir}/raw/}" --output "${dumpdir}/raw/overlap.tsv"
    for dset in "${copied_sets[@]}"; do add_copies "${dset}"; done
fi

if runs 3 "${skip_data_prep}" && [ "${feats_type}" != raw ]; then
    stage_begins 3 "speech features by ${encoder_name} ${upstream_path} -> ${feats_dir}"
    for dset in "${fed_sets[@]}"; do need "${dumpdir}/raw/${dset}/wav.scp" 2; done
    n=$(at_most "${nj}" "${dumpdir}/raw/${trained_set}/wav.scp" --nj)
    extract=(sec_extract_feats --dumpdir "${dumpdir}" --sets "${fed_sets[*]}"
        --output "${feats_dir}" --encoder "${encoder}" --dtype "${feats_dtype}"
        --batch_seconds "${batch_seconds}" --device "${device}" --nj "$n")
    [ "${encoder}" != s3prl ] || extract+=(--upstream "${upstream}" --layer "${upstream_layer}")
    [ "${encoder}" != s3prl ] || [ -z "${upstream_path}" ] || extract+=(--upstream_path "${upstream_path}")
    split "${extract_args}" && extract+=("${parts[@]}")
    jobs "${jobs_cmd}" "$n" "${feats_dir}/logs/extract.JOB.log" "${extract[@]}" --job JOB
    "${extract[@]}" --combine true
fi

[ -z "${folds}" ] || . utils/sec_folds.sh # stages 4 to 8 of all folds; the run ends there

if runs 4 "${skip_data_prep}"; then
    stage_begins 4 "lengths and statistics -> ${sec_stats_dir}"
    for dset in $(unique "${trained_set}" "${valid_set}"); do
        need "${feats_dir}/${dset}/${feats_scp}" "$([ "${feats_type}" = raw ] && echo 2 || echo 3)"
        stats=()
        [ "${feats_type} ${feats_normalize} ${dset}" != "extracted global_mvn ${trained_set}" ] || stats=(--feats_stats "${stats_file}")
        job "${train_cmd}" "${sec_stats_dir}/logs/${dset}.log" \
            sec_collect_stats --dir "${feats_dir}/${dset}" --output "${sec_stats_dir}/${dset}/speech_shape" "${stats[@]}"
    done
fi

if runs 5 "${skip_train}" && ! "${skip_align}" && [ -z "${pretrained_model}" ] && has_bridge 5; then
    stage_begins 5 "training, first stage: STMIL + SCCL -> ${align_exp}"
    train "${align_exp}" "${align_config}" "${align_args}" "caption,captions text,text emotion,utt2emo" --model align
fi

if runs 6 "${skip_train}"; then
    stage_begins 6 "training, second stage: captioning -> ${sec_exp}"
    start=()
    if ! "${skip_align}" && { [ -n "${pretrained_model}" ] || has_bridge; }; then
        [ -n "${pretrained_model}" ] || pretrained_model=${align_exp}/${align_model}
        [ -e "${pretrained_model}" ] || need "${pretrained_model%:*}" 5
        start=(--init_model "${pretrained_model}")
    fi
    train "${sec_exp}" "${caption_config}" "${caption_args}" "caption,captions text,text emotion,utt2emo" \
        ${lm_prompts:+--prompts "${lm_prompts}"} "${start[@]}" "${empty_text[@]}"
fi

if runs 7 "${skip_eval}"; then
    stage_begins 7 "decoding by ${sec_exp}/${inference_model} -> ${decode_dir}"
    need "${sec_exp}/${inference_model}" 6
    for dset in "${tests[@]}"; do
        need "${feats_dir}/${dset}/${feats_scp}" "$([ "${feats_type}" = raw ] && echo 2 || echo 3)"
        n=$(at_most "${inference_nj}" "${feats_dir}/${dset}/${feats_scp}" --inference_nj)
        decode=(sec_inference --config "${inference_config}" --data_dir "${feats_dir}/${dset}" --nj "$n"
            --output_dir "${decode_dir}/${dset}" --device "${device}" --words "${words:-${lang}}")
        ! "${shuffled_audio}" || decode+=(--shuffled_audio_dir "${decode_dir}_shuffled_audio/${dset}")
        ! reads_text || decode+=(--text_file "${text_file:-${dumpdir}/raw/${dset}/text}" "${empty_text[@]}")
        ! reads_clues || decode+=(--references "${dumpdir}/raw/${dset}/captions") # for --clues oracle, and to refuse others that are
        split "${inference_args}"
        jobs "${jobs_cmd}" "$n" "${decode_dir}/${dset}/logs/decode.JOB.log" "${decode[@]}" "${parts[@]}" \
            --sec_model_file "${sec_exp}/${inference_model}" --job JOB
        "${decode[@]}" --combine true
    done
fi

if runs 8 "${skip_eval}"; then
    stage_begins 8 "scoring and report -> ${expdir}/RESULTS.md, RESULTS.tex, RESULTS.html (for a browser)"
    for dset in "${tests[@]}"; do
        need "${decode_dir}/${dset}/captions" 7
        systems=("${decode_dir}/${dset}")
        ! "${shuffled_audio}" || ! hears || systems+=("${decode_dir}_shuffled_audio/${dset}")
        if "${nearest_caption}" && { [ "${feats_type}" != raw ] || has_bridge; }; then
            need "${feats_dir}/${trained_set}/${feats_scp}" "$([ "${feats_type}" = raw ] && echo 2 || echo 3)"
            system=${decode_dir}_nearest_caption/${dset} nearest_cmd=${train_cmd} nearest_args=(--like "${decode_dir}/${dset}")
            [ "${feats_type}" != raw ] || nearest_cmd=${jobs_cmd}
            [ "${feats_type}" != raw ] || nearest_args+=(--sec_model_file "${sec_exp}/${inference_model}" --device "${device}")
            jobs "${nearest_cmd}" 1 "${system}/logs/nearest.log" python3 -m espnet2_secap.bin.sec_nearest \
                --train_dir "${feats_dir}/${trained_set}" --train_captions "${dumpdir}/raw/${trained_set}/captions" \
                --data_dir "${feats_dir}/${dset}" --output "${system}" --neighbours "${neighbours}" "${nearest_args[@]}"
            systems+=("${system}")
        fi
        ! "${baselines}" || for kind in random frequent; do
            sec_baseline --kind "${kind}" --train_captions "${dumpdir}/raw/${train_set}/captions" \
                --ids "${dumpdir}/raw/${dset}/captions" --output "${expdir}/${kind}_caption/${dset}"
            systems+=("${expdir}/${kind}_caption/${dset}")
        done
        "${skip_score}" || for system in "${systems[@]}"; do
            score "${dumpdir}/raw/${dset}" "${system}" "${dumpdir}/raw/${train_set}/captions"
        done
    done
    if ! "${skip_score}" && "${probe}" && [ -e "${align_exp}/${align_model}" ]; then
        jobs "${train_cmd}${train_threads:+ --num_threads ${train_threads}}" 1 "${align_exp}/probe.log" \
            sec_probe --model_files "${align_exp}/${align_model}" \
            --train_dir "${feats_dir}/${trained_set}" --test_dirs "${feats_dir}/${valid_set}" "${own_tests[@]/#/${feats_dir}/}" \
            --label_dirs "${dumpdir}/raw/${trained_set}" "${dumpdir}/raw/${valid_set}" "${own_tests[@]/#/${dumpdir}/raw/}"
    fi
    "${skip_score}" || report "${expdir}"
fi
stage_ends
log "Done: stages ${stage} to ${stop_stage}"
exit
}
