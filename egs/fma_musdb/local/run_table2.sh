#!/usr/bin/env bash
# Table 2: the same with the separator frozen.  The pre-training is that of table 1.
set -euo pipefail
for model in small medium large; do
  "$(dirname "${BASH_SOURCE[0]}")/../run.sh" --model "$model" --fma-subset large \
    --init "scratch mixit" --trainable encoder_decoder "$@"
done
