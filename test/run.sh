#!/usr/bin/env bash
# Run the test suite from a bare clone; arguments go to pytest: test/run.sh test/losses -k gram
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup_env.sh

# what some tests need besides; they are skipped without
if ! .venv/bin/python -c 'import gradio' 2>/dev/null; then
  .venv/bin/python -m pip install --quiet -c tools/constraints.txt -e '.[demo]' || true
fi
missing=()
for program in chromium:chromium nginx:nginx slurm:slurmctld; do
  PATH=$PATH:/usr/sbin command -v "${program#*:}" >/dev/null || missing+=("${program%%:*}")
done
if [ ${#missing[@]} -gt 0 ]; then bash tools/system_programs.sh "${missing[@]}"; fi

# one test process more than cores, since some wait, each with one thread; the tests of one file share
# their fixtures, and files come in the order of test/conftest.py
workers=$(.venv/bin/python -c 'import os; print(min(8, (os.cpu_count() or 1) + 1))')
export OMP_NUM_THREADS=1 MPLBACKEND=Agg PYTHONHASHSEED=0
# --cov costs next to nothing where Python itself can say which lines run
if .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
  export COVERAGE_CORE=sysmon
fi
exec .venv/bin/python -m pytest -n "$workers" --dist loadfile --no-loadscope-reorder "$@"
