# One task per process. They connect to the job's first node, on a port derived from the job's id.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((10000 + SLURM_JOB_ID % 20000))
OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
export MASTER_ADDR MASTER_PORT OMP_NUM_THREADS
code=0
srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "${command[@]}" || code=$?

# Succeeds if SLURM is ending this job: preemption, or its time limit is near.
ending() {
    local preempted end
    read -r preempted end < <(SLURM_TIME_FORMAT=%s squeue --noheader --job="$job" --Format=PreemptTime:20,EndTime:20)
    [[ $preempted =~ ^[0-9]+$ || ( $end =~ ^[0-9]+$ && $end -le $(($(date +%s) + near)) ) ]]
}

# Requeue a run that such a signal (USR1, TERM) stopped; it resumes from its newest checkpoint.
# A failed run is not requeued, nor is a cancelled one, whose shell SLURM ends.
if [[ $code == 138 || $code == 143 ]] && ending; then
    if ((${SLURM_RESTART_COUNT:-0} >= requeue)); then
        echo "Not requeued: the limit of $requeue requeues is reached (--slurm='requeue=...')."
    elif scontrol requeue "$job"; then
        sleep 600  # SLURM ends the job during this time; a job that exits by itself is not requeued
    fi
fi
exit $code
