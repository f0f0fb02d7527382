#!/usr/bin/env bash
# Table 3: the medium size after MixIT on each subset.  Scratch and large are rows of table 1 too.
set -euo pipefail
run=$(dirname "${BASH_SOURCE[0]}")/../run.sh
"$run" --model medium --fma-subset large --init "scratch mixit" --trainable all "$@"
for subset in small medium full; do
  "$run" --model medium --fma-subset "$subset" --init mixit --trainable all "$@"
done
