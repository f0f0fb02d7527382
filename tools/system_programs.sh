#!/usr/bin/env bash
# Install what is named (python, compiler, ffmpeg, fluidsynth, sound-font; for the tests chromium, nginx,
# slurm) through the package manager, as root or where sudo asks for no password; else say in one sentence
# how to. It always goes on.
set -euo pipefail

# The package that holds THING, or nothing where there is none; brew has no General MIDI sound font.
package_of() {
  case $manager:$1 in
    apt-get:python) echo python3 python3-venv ;;
    apt-get:compiler) echo gcc libc6-dev python3-dev ;;
    apt-get:sound-font | dnf:sound-font) echo fluid-soundfont-gm ;;
    dnf:python) echo python3 ;;
    dnf:compiler) echo gcc python3-devel ;;
    dnf:ffmpeg) echo ffmpeg-free ;;
    brew:python) echo python@3.12 ;;
    brew:fluidsynth) echo fluid-synth ;;
    apt-get:nginx) echo nginx-light ;;
    apt-get:slurm) echo slurm-wlm munge ;;
    brew:chromium | *:slurm) ;;
    *:ffmpeg | *:fluidsynth | *:chromium | *:nginx) echo "$1" ;;
  esac
}

# What cannot be done without THING.
loss_of() {
  case $1 in
    python) echo "nothing runs: it takes Python 3.10 to 3.13 with its venv module" ;;
    compiler) echo "(cc and Python.h) pip cannot build pesq, which asteroid asks for" ;;
    ffmpeg) echo "(and ffprobe) museval cannot be imported; for all else imageio-ffmpeg stands in" ;;
    fluidsynth) echo "the songs of egs/midi_band cannot be played" ;;
    chromium) echo "the pages of reports and the demo are not tested" ;;
    nginx) echo "downloads are not tested against a real server" ;;
    slurm) echo "jobs are not tested on a real cluster" ;;
    sound-font) echo "the songs of egs/midi_band cannot be played; SOUND_FONT may name any General MIDI .sf2" ;;
  esac
}

manager=
for candidate in apt-get dnf brew; do
  if [ -z "$manager" ] && command -v "$candidate" >/dev/null; then manager=$candidate; fi
done
is_allowed() {
  case $manager:$(id -u) in
    : | brew:0) return 1 ;;
    brew:* | *:0) ;;
    *) sudo -n true 2>/dev/null ;;
  esac
}
as_administrator() {
  if [ "$manager" = brew ] || [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
get() {
  case $manager in
    apt-get) as_administrator env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" ;;
    dnf) as_administrator dnf install -y "$@" ;;
    brew) brew install "$@" ;;
  esac
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
allowed=no
if is_allowed; then allowed=yes; fi
if [ $allowed$manager = yesapt-get ]; then as_administrator apt-get update >"$log" 2>&1 || true; fi

for thing in "$@"; do
  packages=$(package_of "$thing")
  if [ $allowed = yes ] && [ -n "$packages" ]; then
    begin=$SECONDS
    printf 'setup_env: %s install %s ... ' "$manager" "$packages"
    # shellcheck disable=SC2086 # several packages are several words
    if get $packages </dev/null >"$log" 2>&1; then
      echo "$((SECONDS - begin)) s"
      continue
    fi
    echo "failed: $(tail -n 1 "$log")"
  fi
  how="install it"
  if [ -n "$packages" ]; then how="as an administrator, $manager install $packages"; fi
  echo "setup_env: without $thing $(loss_of "$thing"); to have it, $how"
done
