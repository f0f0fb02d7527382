# shellcheck shell=bash disable=SC2154
# How the stages run a command: in a work folder that no other run changes meanwhile, and so that what
# stops the script stops the command too.

running="" stopped=""

# run COMMAND...: a signal that is meant to end this script goes to the command first, which may have
# something to save; the script ends when it has.
run() {
  local status
  (
    trap - INT TERM HUP
    if [ "$(type -t "$1")" = file ]; then exec "$@"; else "$@"; fi
  ) <&0 &
  running=$!
  while :; do # the first wait ends when a signal comes
    status=0
    wait "$running" || status=$?
    kill -0 "$running" 2>/dev/null || break
  done
  running=""
  if [ -n "$stopped" ]; then exit "$stopped"; fi
  return "$status"
}

# stop SIGNAL STATUS: hand it on to the command at work, if there is one
stop() {
  stopped=$2
  if [ -z "$running" ]; then exit "$2"; fi
  case $1:$(ps -o stat= -p $$ 2>/dev/null) in
    INT:*+*) ;; # Ctrl-C in a terminal reaches the command by itself
    *) kill -s "$1" "$running" 2>/dev/null || true ;;
  esac
}
trap 'stop INT 130' INT
trap 'stop TERM 143' TERM
if [ -z "$(trap -p HUP)" ]; then trap 'stop HUP 129' HUP; fi # under nohup it stays ignored

# hold alone|shared: the work folder, for stages that change the songs and for those that read them
hold() {
  mkdir -p "$exp"
  exec 8>>"$exp/.lock"
  lock 8 "$exp/.lock" "$1" "wait for it, or begin at --stage 3 to train another network beside it"
  if [ "$1" = alone ]; then return; fi
  exec 9>>"$exp/.lock_$tag"
  lock 9 "$exp/.lock_$tag" alone "wait for it, or choose another --seed, --model or --work-dir"
}

# lock DESCRIPTOR FILE alone|shared ADVICE: or end with a sentence
lock() {
  python "$utils/lock.py" "$1" "$2" "$3" "run.sh: another run is at work in '$work_dir'" "$4" || exit 1
}
