#!/usr/bin/env bash
# Local SLURM cluster for tests: one node with two CPUs on this machine. Requires root and Debian, not systemd.
#
#   scripts/slurm_testbed.sh start FOLDER       then: export SLURM_CONF=FOLDER/slurm.conf
#   scripts/slurm_testbed.sh stop FOLDER
#
# Partition `high` preempts partition `low`, whose jobs get SIGTERM and are killed and requeued 30 seconds later.
# SLURM writes to FOLDER only; munge uses Debian's paths. Ports: 21817 and 21818.
set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
[ $# = 2 ] || usage
folder=$(realpath -m "$2")
node=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

install_packages() {
    local packages=(slurmctld slurmd slurm-client munge)
    command -v slurmctld slurmd sbatch munged >/dev/null && return
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
}

write_configuration() {
    mkdir -p "$folder"/{state,spool}
    cat > "$SLURM_CONF" <<CONFIGURATION
ClusterName=sedd
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=21817
SlurmdPort=21818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log

# no cgroups and no database
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none

SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=10
# short intervals: a requeued job, which waits for its credential to expire, starts again quickly
SchedulerParameters=sched_interval=1,bf_interval=2,requeue_delay=1
AuthInfo=cred_expire=5
ReturnToService=2

NodeName=$node NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=30
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF
CONFIGURATION
}

start_munge() {
    munge -n 2>/dev/null | unmunge >/dev/null 2>&1 && return  # munged is running already; stop() leaves it alone
    install -d -o munge -g munge /run/munge
    runuser -u munge -- munged
    for _ in $(seq 50); do
        [ -f /run/munge/munged.pid ] && munge -n >/dev/null 2>&1 && break
        sleep 0.1
    done
    cp /run/munge/munged.pid "$folder/munged.pid"
}

start() {
    [ "$(id -u)" = 0 ] || { echo "SLURM's daemons must be started as root." >&2; exit 1; }
    install_packages
    getent hosts "$node" >/dev/null || echo "127.0.0.1 $node" >> /etc/hosts
    write_configuration
    start_munge
    slurmctld -i  # -i: ignore an older state that cannot be read
    slurmd
    for _ in $(seq 60); do
        if [ "$(sinfo --noheader --partition=low --format=%T 2>/dev/null)" = idle ]; then
            echo "SLURM is running: export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.5
    done
    echo "The node did not become idle within 30 seconds." >&2
    tail -n 20 "$folder"/*.log >&2
    stop
    exit 1
}

stop() {
    scancel --user=root 2>/dev/null || true
    for _ in $(seq 50); do [ -n "$(squeue --noheader 2>/dev/null)" ] || break; sleep 0.3; done
    for file in slurmd.pid slurmctld.pid munged.pid; do
        [ -f "$folder/$file" ] || continue
        pid=$(cat "$folder/$file")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    done
}

case $1 in start) start ;; stop) stop ;; *) usage ;; esac
