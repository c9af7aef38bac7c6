#!/bin/bash
# A Slurm of one node on loopback, for a trial: munge, slurmctld and slurmd, without cgroups and
# without accounting. Needs root and Debian's packages slurm-wlm and munge.
#
#   benchmarks/cluster/one_node.sh start DIR     configuration, state and logs go to DIR
#   benchmarks/cluster/one_node.sh stop DIR
set -euo pipefail
action=$1
mkdir -p "$2"
dir=$(realpath "$2")
export SLURM_CONF=$dir/slurm.conf

if [ "$action" = stop ]; then
    for name in slurmd slurmctld munged; do
        [ -s "$dir/$name.pid" ] && kill "$(cat "$dir/$name.pid")" 2>/dev/null || true
    done
    exit 0
fi

install -d -o munge -g munge -m 0755 /run/munge
[ -s /etc/munge/munge.key ] || { /usr/sbin/mungekey --create; chown munge: /etc/munge/munge.key; }
install -d -o munge -g munge -m 0700 "$dir/munge"
chmod 755 "$dir"
setpriv --reuid munge --regid munge --clear-groups /usr/sbin/munged --force \
    --pid-file "$dir/munge/munged.pid" --log-file "$dir/munge/munged.log" \
    --seed-file "$dir/munge/seed"
ln -sf munge/munged.pid "$dir/munged.pid"
munge -n | unmunge >/dev/null

mkdir -p "$dir/state" "$dir/spool"
host=$(hostname -s)
cat >"$SLURM_CONF" <<CONF
ClusterName=trial
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=3
MpiDefault=none
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=trial Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
slurmctld
slurmd
for _ in $(seq 30); do
    sinfo --noheader --format %t 2>/dev/null | grep -q idle && { sinfo; exit 0; }
    sleep 1
done
sinfo
tail -5 "$dir"/slurm*.log
exit 1
