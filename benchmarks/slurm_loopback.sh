#!/bin/sh
# A Slurm of one node on this machine, for tests/runs/engines/test_slurm.py. Debian, root; overwrites /etc/slurm/slurm.conf.
#   apt-get install --no-install-recommends slurm-wlm munge && sh benchmarks/slurm_loopback.sh
set -eu
host=$(hostname -s)
mkdir -p /var/spool/slurmd /var/spool/slurmctld /run/munge /etc/slurm
chown munge: /run/munge
cat > /etc/slurm/slurm.conf <<CONF
ClusterName=loop
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmdSpoolDir=/var/spool/slurmd
StateSaveLocation=/var/spool/slurmctld
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
pgrep -x munged > /dev/null || su -s /bin/sh munge -c munged
pgrep -x slurmctld > /dev/null || slurmctld
pgrep -x slurmd > /dev/null || slurmd
sleep 3
sinfo
