#!/usr/bin/env bash
# Build wheel and source distribution; install the wheel in an empty environment, away from the checkout;
# separate a file with it there. Needs tools/setup_env.sh to have run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$(pwd -P)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

export PIP_CONSTRAINT=$root/tools/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d "" file; do
  if [ -e "$file" ]; then printf '%s\0' "$file"; fi
done | tar --null -cf - -T - | tar -xf - -C "$scratch" --one-top-level=source
# quietly COMMAND...: what it says is shown only if it fails
quietly() {
  "$@" >"$scratch/log" 2>&1 || {
    tail -n 20 "$scratch/log" >&2
    exit 1
  }
}
quietly .venv/bin/python -m build --outdir "$scratch/dist" "$scratch/source"
ls "$scratch/dist"

.venv/bin/python -m venv "$scratch/venv"
cd "$scratch"
index=$(cut -s -d "|" -f 3 "$root/.venv/.setup_env")
if [ -n "$index" ]; then quietly venv/bin/pip install --no-deps --index-url "$index" torch torchaudio; fi
quietly venv/bin/pip install dist/*.whl

venv/bin/python - <<'EOF'
from pathlib import Path

import numpy as np
import soundfile

import mixit_mss
from mixit_mss.models import BSLocoformer
from mixit_mss.models.hub import save_model
from mixit_mss.report.paper import paper_rows

assert Path.cwd() in Path(mixit_mss.__file__).parents, f"{mixit_mss.__file__} is not the wheel's"
assert len(paper_rows(1)) > 0, "the paper's figures did not travel"
sizes = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 2, "num_groups": 2}
network = BSLocoformer(2, stems=["low", "high"], **sizes)
save_model(network, "model", {})
soundfile.write("song.wav", 0.1 * np.random.default_rng(0).standard_normal((66150, 2)), 44100)
EOF
venv/bin/mixit-mss separate song.wav --model model --out separated
ls separated/song
venv/bin/mixit-mss --version
