# The batch script of slurm.pl, which loads this with require.
use strict;
use warnings;

# The part that is the same for all jobs. Its variables precede it, each as NAME='VALUE'; the value of slurm_mark is the
# placeholder of the task number. All names begin with slurm_, to avoid conflicts with path.sh.
my $BODY = <<'END';
slurm_id=${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID}}${SLURM_ARRAY_TASK_ID:+_${SLURM_ARRAY_TASK_ID}}
for slurm_name in slurm_line slurm_log slurm_status; do
    printf -v "${slurm_name}" '%s' "${!slurm_name//"${slurm_mark}"/"${SLURM_ARRAY_TASK_ID:-}"}"
done
cd -- "${slurm_folder}" || exit 1
rm -f -- "${slurm_status}" || exit 1
slurm_now() { LC_ALL=C date '+%a %b %e %H:%M:%S %Z %Y'; }
slurm_field() { sed -nE "s/(^|.* )$1=([^ ]*).*/\2/p" <<< "${slurm_record}" | head -n 1; }

if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    echo "# Started again by Slurm, time ${SLURM_RESTART_COUNT}" >> "${slurm_log}" || exit 1
else
    : > "${slurm_log}" || exit 1
fi
slurm_start=$(date +%s)
{
    echo "# ${slurm_line//$'\n'/$'\n# '}"
    echo "# Running on ${SLURMD_NODENAME:-$(uname -n)} as Slurm job ${slurm_id}"
    echo "# Started at $(slurm_now)"
    echo "#"
} >> "${slurm_log}"
export SLURM_EXPORT_ENV=ALL # otherwise srun exports the variables of sbatch --export, and none of path.sh
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK} # srun ignores the former since Slurm 22.05

# slurm_command: path.sh, then the command
slurm_command() (
    if [ -f ./path.sh ]; then
        trap 'echo "slurm.pl: error: ./path.sh failed, see above"; exit 1' EXIT
        . ./path.sh || exit 1
        trap - EXIT
    fi
    [ -z "${slurm_threads}" ] || export OMP_NUM_THREADS=${slurm_threads}
    exec bash -o pipefail -c "${slurm_line}"
)

# slurm_task: run the command and record its end. Slurm sends TERM to all processes; this one survives to record the
# end, and the command may have died of it before this one handles the signal.
slurm_task() {
    trap 'slurm_term=yes' TERM
    slurm_command >> "${slurm_log}" 2>&1 < /dev/null
    slurm_code=$?
    if [ -n "${slurm_term:-}" ] || [ "${slurm_code}" -eq 99 ] || [ "${slurm_code}" -gt 128 ]; then
        slurm_record=$(timeout 20 scontrol show job "${slurm_id}")
        slurm_restarts=$(slurm_field Restarts)
        if [ "${slurm_restarts:-0}" -gt "${SLURM_RESTART_COUNT:-0}" ]; then
            echo "# Ended at $(slurm_now) with status ${slurm_code}: Slurm runs the job again" >> "${slurm_log}"
            return
        fi
        # Running, at its time limit, or preempted: nobody has cancelled it.
        slurm_state="$(slurm_field JobState) $(slurm_field PreemptTime) $(slurm_field Reason)"
        if [ "${slurm_code}" -eq 99 ] && [[ ${slurm_state} =~ ^RUNNING|\ [0-9]|TimeLimit$ ]]; then
            echo "# Saved at $(slurm_now) with status 99: asking Slurm to run the job again" >> "${slurm_log}"
            scontrol requeue "${slurm_id}" >> "${slurm_log}" 2>&1 && return
        fi
    fi
    {
        echo "# Accounting: time=$(($(date +%s) - slurm_start)) threads=${slurm_threads:-1}"
        echo "# Finished at $(slurm_now) with status ${slurm_code}"
    } >> "${slurm_log}"
    echo "${slurm_code} ${SLURM_RESTART_COUNT:-0}" > "${slurm_status}.tmp" &&
        mv -f -- "${slurm_status}.tmp" "${slurm_status}"
}

# Slurm sends its warning to this script only, which forwards it to its process group; programs without a handler
# ignore it.
slurm_warn() { trap '' USR1; kill -s USR1 0; trap slurm_warn USR1; }
trap '' USR1
slurm_task &
slurm_pid=$!
trap slurm_warn USR1
trap : TERM
while kill -0 "${slurm_pid}"; do wait "${slurm_pid}" || sleep 0.05; done 2> /dev/null # a signal interrupts wait
# Never 99: some clusters requeue even a cancelled job on it.
[ -f "${slurm_status}" ] && read -r slurm_code slurm_restarts < "${slurm_status}" && [ "${slurm_code}" = 0 ]
END

# (hash of the variables slurm_... and their values) -> text of the script
sub batch_script {
    my (%value) = @_;
    my @lines = map { "slurm_$_=" . shell_quote($value{$_}) . "\n" } sort keys %value;
    return join '', "#!/usr/bin/env bash\n# Written by slurm.pl for one call of it.\n", @lines, $BODY;
}

1;
