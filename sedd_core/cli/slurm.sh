# One task a process. They find each other at the job's first node, at a port of the job's own.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((10000 + SLURM_JOB_ID % 20000))
OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
export MASTER_ADDR MASTER_PORT OMP_NUM_THREADS
code=0
srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "${command[@]}" || code=$?

# Does SLURM want this job to end, by preemption or near its time limit? It knows when.
wanted() {
    local preempted end
    read -r preempted end < <(SLURM_TIME_FORMAT=%s squeue --noheader --job="$job" --Format=PreemptTime:20,EndTime:20)
    [[ $preempted =~ ^[0-9]+$ || ( $end =~ ^[0-9]+$ && $end -le $(($(date +%s) + near)) ) ]]
}

# A run that such a signal (USR1, TERM) has ended goes back into the queue, and on from its newest checkpoint.
# One that failed does not; nor does one that was cancelled, for SLURM ends this shell then.
if [[ $code == 138 || $code == 143 ]] && wanted; then
    if ((${SLURM_RESTART_COUNT:-0} >= requeue)); then
        echo "Not requeued: the limit is $requeue times (--slurm='requeue=...')."
    elif scontrol requeue "$job"; then
        sleep 600  # SLURM ends the job meanwhile: one that ends by itself is over for good
    fi
fi
exit $code
