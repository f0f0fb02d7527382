#!/usr/bin/env bash
# Run the test suite from a bare clone; arguments go to pytest: test/run.sh test/losses -k gram
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup_env.sh

# one test process per core, each with one thread; the tests of one file share their fixtures
workers=$(.venv/bin/python -c 'import os; print(min(8, os.cpu_count() or 1))')
export OMP_NUM_THREADS=1 MPLBACKEND=Agg PYTHONHASHSEED=0
exec .venv/bin/python -m pytest -n "$workers" --dist loadfile "$@"
