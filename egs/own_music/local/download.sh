# shellcheck shell=bash
# Stage 0: nothing to fetch; see that the folders are there.  Sourced by utils/mss.sh.
for option in unlabelled_dir labelled_dir; do
  if [ ! -d "${!option}" ]; then
    printf 'run.sh: --%s must name a folder of your songs, not "%s"\n' \
      "${option//_/-}" "${!option}" >&2
    exit 1
  fi
done
