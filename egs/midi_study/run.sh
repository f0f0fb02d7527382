#!/usr/bin/env bash
# The study: the paper's three tables in miniature, learning curves, and whether MixIT suits correlated
# sources, with seeds and error bars. One command for everything; killed, it is given again and goes on.
#
#   ./run.sh                      every run of three seeds: 8.4 hours by plan, on two CPU cores
#   ./run.sh --quick              one seed, less of everything: 50 minutes by plan
#   ./run.sh --quick --dry-run    what would be run, and how long each run should take
cut=full                # full|quick|smoke: size of the study; --quick is --cut quick
work_dir=exp            # folder for everything but the results
seeds=                  # such as "1 2 3": each has songs, weights and draws of its own; the cut's if empty
part=all                # all|tables|correlation: of the study
jobs=2                  # steps of the study at a time; their output goes to WORK_DIR/CUT/logs, unless it is 1
nj=2                    # processes for audio
ngpu=1                  # devices for training, where there are GPUs
results_dir=.           # folder for RESULTS.md, and results/ with figures and raw scores
dry_run=false           # list the runs, and run nothing
set -euo pipefail
# what stands alone here has a value there
ARGUMENTS=()
for WORD in "$@"; do
  case $WORD in
    --quick) ARGUMENTS+=(--cut quick) ;;
    --dry-run) ARGUMENTS+=(--dry-run true) ;;
    *) ARGUMENTS+=("$WORD") ;;
  esac
done
set -- ${ARGUMENTS[@]+"${ARGUMENTS[@]}"}
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/parse_options.sh"
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../tools/activate.sh
common=(--cut "$cut" --work-dir "$work_dir" --seeds "$seeds")
walk=(--part "$part" --jobs "$jobs" --nj "$nj" --ngpu "$ngpu")
if [ "$dry_run" = true ]; then walk+=(--dry-run); fi
python local/walk.py "${common[@]}" "${walk[@]}"
if [ "$dry_run" = false ]; then
  python local/make_results.py "${common[@]}" --out "$results_dir"
fi
