#!/usr/bin/env bash
# Make .venv at the root of the repository from nothing, or bring it up to date: the exact versions of
# tools/constraints.txt, this package (editable), and the programs that only the system can give.
#
#   tools/setup_env.sh                      with the first Python 3.10 to 3.13 that is found
#   PYTHON=python3.12 tools/setup_env.sh    with this one
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu tools/setup_env.sh    torch without CUDA
#
# A call with nothing to do ends at once, one that was killed is simply run again, and two at the same
# time wait for each other. pip keeps its own configuration: its files and the PIP_* variables.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$(pwd -P)
state=.venv/.setup_env # "unfinished", or the stamp of what was installed
log=.venv/setup_env.log

say() { printf 'setup_env: %s\n' "$*"; }
fail() {
  say "$*" >&2
  exit 1
}

# step WHAT COMMAND...: one line with the time it took; what the command says goes to the log.
step() {
  local begin=$SECONDS
  printf 'setup_env: %s ... ' "$1"
  shift
  if "$@" </dev/null >>"$log" 2>&1; then
    echo "$((SECONDS - begin)) s"
  else
    echo failed
    tail -n 12 "$log" >&2
    fail "all that was said is in $root/$log; mend what it names and run tools/setup_env.sh again"
  fi
}

# Version and path of a Python that will do, or failure; of one in an environment, that of its base.
describe() {
  "$1" -c 'import sys, venv, ensurepip
assert (3, 10) <= sys.version_info[:2] <= (3, 13)
print("%d.%d.%d" % sys.version_info[:3], getattr(sys, "_base_executable", sys.executable))' 2>/dev/null
}
find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
    describe "$candidate" && return
  done
  return 1
}

# What .venv is made from, and where: the scripts of a .venv that was moved point to its old place.
stamp() {
  .venv/bin/python - "$root" "$TORCH_INDEX" <<'EOF' 2>/dev/null
import hashlib, pathlib, sys
files = ("tools/constraints.txt", "setup.cfg", "pyproject.toml")
digest = hashlib.sha256(b"\0".join(pathlib.Path(file).read_bytes() for file in files)).hexdigest()
print("%d.%d.%d" % sys.version_info[:3], *sys.argv[1:], digest, sep="|")
EOF
}
# Whether the Python of .venv works and has the version that was asked for.
has_python() {
  local here asked
  here=$(describe .venv/bin/python) || return 1
  asked=$([ -z "${PYTHON:-}" ] || describe "$PYTHON") || return 1
  [ -z "$asked" ] || [ "${asked%% *}" = "${here%% *}" ]
}
is_up_to_date() { has_python && [ "$(cat "$state" 2>/dev/null)" = "$(stamp)" ]; }
# Whether pip can go on in this .venv: it was not left half made, nor moved here.
is_sound() {
  has_python && .venv/bin/python -m pip --version >/dev/null 2>&1 || return 1
  [ ! -f "$state" ] || case $(cat "$state") in *"|$root|"*) ;; *) return 1 ;; esac
}

# Programs that only the system can give; what could not be had before is only mentioned.
add_programs() {
  local missing
  missing=$("$1" tools/check_env.py --missing)
  if [ -n "$missing" ] && [ "$missing" = "$(cat .venv/.missing 2>/dev/null)" ]; then
    say "still without $missing (bash tools/system_programs.sh $missing tries again and tells what for)"
  elif [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # several programs are several words
    bash tools/system_programs.sh $missing 9>&-
  fi
}
finish() {
  .venv/bin/python tools/check_env.py --missing >.venv/.missing
  say "$1"
  exit 0
}

if [ "$*" = --help ]; then
  exec sed -n '2,/^set/s/^# \{0,1\}//p' tools/setup_env.sh
fi
[ $# -eq 0 ] || fail "unexpected argument $1; --help shows how it is used"
# The index is remembered, so that it is named once only.
TORCH_INDEX=${TORCH_INDEX-$(cut -s -d "|" -f 3 "$state" 2>/dev/null || true)}
if is_up_to_date; then add_programs .venv/bin/python && finish "up to date"; fi

if [ -n "${PYTHON:-}" ]; then
  found=$(describe "$PYTHON") || fail "PYTHON=$PYTHON is not a Python 3.10 to 3.13 with its venv module"
elif ! found=$(find_python); then
  bash tools/system_programs.sh python
  found=$(find_python) || fail "no Python 3.10 to 3.13 with its venv module; PYTHON=/path/to/python names one"
fi
python=${found#* }

# One at a time. The lock belongs to the descriptor, and so to every process that inherits it: the next
# call also waits for the pip of one that was killed. (Not every system has the program flock.)
exec 9>>tools/constraints.txt
"$python" - <<'EOF'
import fcntl
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("setup_env: another setup_env.sh is at work here; waiting for it to end", flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)
EOF
if is_up_to_date; then finish "up to date"; fi

begin=$SECONDS
remake=yes
if is_sound; then remake=no; fi
mkdir -p .venv
echo "unfinished||$TORCH_INDEX|" >"$state"
: >"$log"
add_programs "$python"
if [ $remake = yes ]; then # the state stays till the last, or a killed removal would look like somebody's .venv
  find .venv/ -mindepth 1 -maxdepth 1 ! -name "${state##*/}" ! -name "${log##*/}" -exec rm -rf {} +
  step "Python ${found%% *} from $python" "$python" -m venv .venv
fi
# shellcheck disable=SC2317 # called through step
pip() { .venv/bin/python -m pip --no-input install -c tools/constraints.txt "$@"; }
step "pip and setuptools" pip --upgrade pip setuptools
if [ -n "$TORCH_INDEX" ]; then
  step "torch and torchaudio from TORCH_INDEX" pip --upgrade --no-deps --index-url "$TORCH_INDEX" torch torchaudio
fi
step "all packages (some minutes, the first time)" pip --build-constraint tools/constraints.txt -e ".[band,dev]"
stamp >"$state.new"
mv "$state.new" "$state"
finish "done in $((SECONDS - begin)) s; .venv/bin/python tools/check_env.py shows what will be used"
