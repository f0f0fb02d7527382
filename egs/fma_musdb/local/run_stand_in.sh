#!/usr/bin/env bash
# Every stage of the recipe on a stand-in for its corpora, in about half an hour on two CPU cores: real
# music from Debian's packages as FMA, songs of egs/midi_band as MUSDB18-HQ, in archives of the same
# layout that a web server on this machine serves, and a tiny network trained for a few steps.  What
# it scores means nothing; that every stage finds what it has to find is checked.
#
#   local/run_stand_in.sh --work-dir /tmp/stand_in
#   local/run_stand_in.sh --work-dir /tmp/stand_in --music-dir ~/Music     without Debian's packages
work_dir=stand_in       # folder for everything; needs about 8 GB
music_dir=              # recorded songs; empty to fetch those of Debian's packages (165 MB)
clips=3                 # 30-s clips of each recorded song
seconds=8               # length of the songs with stems
nj=2                    # processes for audio
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/parse_options.sh"
mkdir -p "$work_dir"
work_dir=$(realpath "$work_dir")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ../../tools/activate.sh
packages="wesnoth-1.16-music asc-music fb-music-high"
served=$work_dir/served

if [ -z "$music_dir" ]; then
  music_dir=$work_dir/music
  if [ ! -e "$music_dir" ]; then
    mkdir -p "$work_dir/packages"
    # shellcheck disable=SC2086 # these are several words
    (cd "$work_dir/packages" && apt-get download $packages)
    for package in "$work_dir"/packages/*.deb; do dpkg-deb -x "$package" "$music_dir.partial"; done
    mv "$music_dir.partial" "$music_dir"
  fi
fi

../midi_band/run.sh --stage 0 --stop-stage 0 --work-dir "$work_dir/band" --num-unlabelled 0 \
  --num-train 86 --num-valid 14 --num-test 50 --seconds "$seconds" --nj "$nj"
if [ ! -e "$served/archives.csv" ]; then
  python local/make_stand_in.py --music "$music_dir" --labelled "$work_dir/band/downloads/labelled" \
    --clips "$clips" --out "$served" --nj "$nj"
fi

# nginx where there is one, because it serves byte ranges; else Python's server, which does not
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
if nginx=$(PATH=$PATH:/usr/sbin command -v nginx); then
  temporary=""
  for kind in client_body proxy fastcgi uwsgi scgi; do
    temporary+="${kind}_temp_path $work_dir/nginx_temp; "
  done
  [ "$(id -u)" != 0 ] || printf 'user root;\n' >"$work_dir/nginx_user.conf"
  printf '%s\n' "include $work_dir/nginx_user*.conf; daemon off; pid $work_dir/nginx.pid;" \
    "error_log $work_dir/nginx.log; events {}" \
    "http { access_log off; $temporary server { listen 127.0.0.1:$port; root $served; } }" \
    >"$work_dir/nginx.conf"
  "$nginx" -c "$work_dir/nginx.conf" -e "$work_dir/nginx.log" &
else
  python -m http.server "$port" --bind 127.0.0.1 --directory "$served" 2>"$work_dir/server.log" &
fi
trap 'kill $!' EXIT

./run.sh --stage 0 --stop-stage 6 --work-dir "$work_dir" --conf-dir "$PWD/conf/stand_in" --model tiny \
  --base-url "http://127.0.0.1:$port" --archives "$served/archives.csv" --fma-subset small --nj "$nj"
python local/make_stand_in.py --out "$served" --check "$work_dir/data/fma_small"
