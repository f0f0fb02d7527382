# shellcheck shell=bash
# Stage 0: fetch what is not on disk already, and look over what is.  Sourced by utils/mss.sh.
fetch=(--out "$downloads" --nj "$nj")
if [ -n "$base_url" ]; then fetch+=(--base-url "$base_url"); fi
if [ -n "$archives" ]; then fetch+=(--archives "$archives"); fi
if starts_from_mixit; then
  run mixit-mss download fma --subset "$fma_subset" --fma-dir "$fma_dir" "${fetch[@]}"
fi
run mixit-mss download musdb18hq --musdb-dir "$musdb_dir" "${fetch[@]}"
