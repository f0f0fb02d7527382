# shellcheck shell=bash
# Stage 0: nothing to fetch; see that the folders are there.  Sourced by utils/mss.sh.
folders=(labelled_dir)
if starts_from_mixit; then folders=(unlabelled_dir labelled_dir); fi
for option in "${folders[@]}"; do
  if [ ! -d "${!option}" ]; then
    printf 'run.sh: --%s must name a folder of your songs, not "%s"\n' \
      "${option//_/-}" "${!option}" >&2
    exit 1
  fi
done
