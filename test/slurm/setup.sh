#!/usr/bin/env bash
# A SLURM cluster of one node, this machine, for tests: everything in one folder, nothing in /etc.
#
#   test/slurm/setup.sh start FOLDER    install SLURM if need be (Debian, as root), start it
#   test/slurm/setup.sh stop FOLDER     end its programs, remove the folder
#
# With SLURM_CONF=FOLDER/slurm.conf in the environment, sbatch and its like speak to it.  Where it cannot
# be had, `start` says why in one line and exits with status 77.
set -euo pipefail
export LC_ALL=C

packages="slurmctld slurmd slurm-client munge"

give_up() {
  printf 'no SLURM here: %s\n' "$*" >&2
  exit 77
}

have_all() { command -v slurmctld slurmd sbatch srun munged >/dev/null; }

install() {
  if have_all; then return; fi
  command -v apt-get >/dev/null || give_up "it is installed by Debian's apt-get only"
  # shellcheck disable=SC2086 # several packages are several words
  for attempt in "" update; do
    if [ "$attempt" ]; then apt-get update >/dev/null 2>&1 || true; fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages \
      >/dev/null 2>&1 || true
    hash -r
    if have_all; then return; fi
  done
  give_up "apt-get cannot install $packages"
}

# free_ports N: that many ports nobody listens at
free_ports() {
  python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in sockets))
PYTHON
}

# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

is_idle() { [ "$(sinfo --noheader --format=%T)" = idle ]; }

start() {
  [ "$(id -u)" = 0 ] || give_up "slurmd must be started as root"
  install
  mkdir -p "$folder/munge" "$folder/state" "$folder/spool"
  chmod 755 "$folder"
  head -c 1024 /dev/urandom >"$folder/munge/key"
  chmod 400 "$folder/munge/key"
  chown -R munge: "$folder/munge"
  runuser -u munge -- munged --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" \
    || give_up "munged does not start ($(tail -n 1 "$folder/munge/log" 2>/dev/null))"
  read -r first second < <(free_ports 2)
  # cred_expire is also the time before a job that went back into the queue may start again
  cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmctldPort=$first
SlurmdPort=$second
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
MpiDefault=none
ReturnToService=2
KillWait=30
MinJobAge=3600
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  export SLURM_CONF=$folder/slurm.conf
  slurmctld -c
  slurmd
  wait_for 30 is_idle || give_up "its node does not come up ($(tail -n 1 "$folder/slurmd.log"))"
}

is_empty() { [ -z "$(squeue --noheader)" ]; }

stop() {
  local name pid
  export SLURM_CONF=$folder/slurm.conf
  # the srun of a job would stay for ever if it lost its cluster
  if ! wait_for 10 is_empty; then
    scancel --user="$(id -un)" || true
    wait_for 20 is_empty || true
  fi
  for name in slurmd slurmctld munge/; do
    pid=$(cat "$folder/${name}.pid" "$folder/${name}pid" 2>/dev/null || true)
    if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then
      wait_for 10 bash -c "! kill -0 $pid" || kill -9 "$pid"
    fi
  done
  rm -rf "$folder"
}

[ $# -eq 2 ] || give_up "test/slurm/setup.sh start|stop FOLDER"
folder=$2
case $1 in
  start) start ;;
  stop) stop ;;
  *) give_up "unknown word $1" ;;
esac
