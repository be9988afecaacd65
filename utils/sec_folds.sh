#!/usr/bin/env bash
# Cross-validation (--folds N): stages 4 to 8 in each fold, and the captions of all folds scored together. sec.sh sources
# this file after stage 3. A fold is a recipe folder, where the ordinary sec.sh runs; see docs/stages.md.
# shellcheck disable=SC2154 # options of sec.sh

name_folds # -> fold_dir
fold_log=${fold_dir}/logs/fold.JOB.log
fold_wrapper=(run.pl --max_jobs_run "${fold_jobs}" --kill_wait 60) # the jobs of a fold go where cmd.sh says
if [ "${cmd_backend}" != slurm ]; then
    cores=$(env -u OMP_NUM_THREADS nproc)
    share=$((cores / fold_jobs > 0 ? cores / fold_jobs : 1)) # of the cores, for each of the folds that run at once
    [ "${train_threads}" -le "${share}" ] || train_threads=${share}
    [ "${train_nproc}" -le "${share}" ] || train_nproc=${share}
    [ "${inference_nj}" -le "${share}" ] || inference_nj=${share}
    if [ "${ngpu}" -gt 0 ] || "${gpu_inference}"; then fold_wrapper+=(--gpu "$((ngpu > 0 ? ngpu : 1))"); fi
fi
list_options # with these
# run_fold FOLDER NUMBER DESCRIPTOR: nothing where it is finished; a message on DESCRIPTOR, sec.sh's output, at the end
# shellcheck disable=SC2016
run_fold='cd "$1/$2" && { cmp -s .wanted exp/.finished && exit; rm -f exp/.finished
    ./run.sh && cp .wanted exp/.finished && echo "$(date +%H:%M:%S) fold $2 has ended" >&"$3"; }'

if [ "${stop_stage}" -ge 4 ]; then
    stage_begins 4 "stages $((stage > 4 ? stage : 4)) to $((stop_stage < 8 ? stop_stage : 8)) in ${folds} folds -> ${fold_dir}"
    python3 -m espnet2_secap.bin.sec_folds make --folder "${fold_dir}" "${recipe_options[@]}"
    log "logs: ${fold_log/JOB/*}"
    exec {fold_output}>&1
    if ! "${fold_wrapper[@]}" JOB=1:"${folds}" "${fold_log}" \
        bash -c "${run_fold}" run_fold "${fold_dir}" JOB "${fold_output}"; then
        for ((k = 1; k <= folds; k++)); do
            cmp -s "${fold_dir}/$k/.wanted" "${fold_dir}/$k/exp/.finished" && continue
            why=$(grep -hE ' error: ' "${fold_log/JOB/$k}" | tail -n 1) || true # a fold that was killed has said nothing
            echo "sec.sh: error: fold $k: ${why:-it ended early}; its log is ${fold_log/JOB/$k}" >&2
        done
        exit 1
    fi
fi

if runs 8 "${skip_eval}" && ! "${skip_score}"; then
    stage_begins 8 "scores of all folds together, and report -> ${fold_dir}/exp/RESULTS.md"
    systems=$(python3 -m espnet2_secap.bin.sec_folds pool --folder "${fold_dir}" "${recipe_options[@]}")
    mapfile -t systems <<< "${systems}"
    for system in "${systems[@]}"; do score "${fold_dir}/test" "${system}" "${fold_dir}"; done
    report "${fold_dir}/exp"
    python3 -m espnet2_secap.bin.sec_folds table --folder "${fold_dir}"
fi
stage_ends
log "Done: stages ${stage} to ${stop_stage}, in ${folds} folds"
exit
