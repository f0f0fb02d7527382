#!/usr/bin/env bash
# Table 1, S1 to L2: every size from scratch and after MixIT on FMA large.  Options go to run.sh.
set -euo pipefail
for model in small medium large; do
  "$(dirname "${BASH_SOURCE[0]}")/../run.sh" --model "$model" --fma-subset large \
    --init "scratch mixit" --trainable all "$@"
done
