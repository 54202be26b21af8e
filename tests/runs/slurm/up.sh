#!/usr/bin/env bash
# Brings up a one-node Slurm on localhost for the tests: no systemd, no accounting. Run as root, with slurm-wlm and munge installed.
set -euo pipefail
host=$(hostname -s)
cpus=$(nproc --all)
memory=$(($(awk '/MemTotal/{print $2}' /proc/meminfo) / 1024 * 9 / 10))
install -d -o munge -g munge -m 0755 /run/munge
if [ ! -s /etc/munge/munge.key ]; then
  dd if=/dev/urandom of=/etc/munge/munge.key bs=1 count=1024 status=none
  chown munge:munge /etc/munge/munge.key
  chmod 400 /etc/munge/munge.key
fi
munge -n >/dev/null 2>&1 || setpriv --reuid=munge --regid=munge --clear-groups /usr/sbin/munged
for _ in $(seq 10); do munge -n 2>/dev/null | unmunge >/dev/null 2>&1 && break || sleep 0.5; done
install -d -m 0755 /var/spool/slurmd /var/spool/slurmctld /var/log/slurm /run/slurm /etc/slurm
cat >/etc/slurm/slurm.conf <<CONF
ClusterName=ci
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
ReturnToService=2
MinJobAge=300
KillWait=5
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
: >/etc/slurm/cgroup.conf
slurmctld
slurmd
for _ in $(seq 20); do sinfo -h -o '%T' 2>/dev/null | grep -q idle && exit 0 || sleep 0.5; done
echo "the node did not become idle" >&2
exit 1
