# shellcheck shell=bash
# Turn the command line into the variables of the script that sources this file:
#
#   stage=0                # first stage to run
#   init=mixit             # mixit|scratch: what fine-tuning starts from
#   unlabelled_dir=        # pre-train on the songs in this folder instead
#
#   . utils/parse_options.sh "$@"
#
# An option is a line `name=default  # help` in lower case, not indented, above the one that sources this
# file: --unlabelled-dir DIR or --unlabelled-dir=DIR. (What is no option is upper case, or comes below.)
# A line that sources some other *_options.sh of this folder stands for the options there.
# Its default decides what is accepted: a whole number, true or false, or words out of the a|b|c with which
# the help begins; else any text. A path for an option named *_dir counts from the folder one is in.
# --help shows the comment at the head of the script and the options. What is not understood ends the
# script before it did anything.
#
# All names here begin with _options, so that they meet no name of the script's.

_options_fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# _options_find PATH LINE: PATH as seen from here; the script may have left the folder it was called from.
_options_find() {
  local _options_path
  for _options_path in "$1" "${OLDPWD:-.}/$1" "./${1##*/}"; do
    case $(sed -n "$2p" "$_options_path" 2>/dev/null) in
      *parse_options.sh*) printf '%s\n' "$_options_path" && return ;;
    esac
  done
  _options_fail "cannot find itself ($1) to read its options from"
}

# _options_read: fill the table of names, helps and kinds (number, a|b|c, or empty for text) from the
# lines of a script on standard input.
_options_read() {
  local _options_line _options_name _options_help _options_kind
  local _options_assignment='^([a-z][a-z0-9_]*)=' _options_comment='[[:space:]]#[[:space:]]+(.*)$'
  local _options_words='^[A-Za-z0-9_.-]+([|][A-Za-z0-9_.-]+)+' _options_shared='^[.] .*/([a-z]+_options[.]sh)'
  while IFS= read -r _options_line; do
    if [[ $_options_line =~ $_options_shared && ${BASH_REMATCH[1]} != parse_options.sh ]]; then
      _options_read <"${BASH_SOURCE[0]%/*}/${BASH_REMATCH[1]}"
    fi
    [[ $_options_line =~ $_options_assignment ]] || continue
    _options_name=${BASH_REMATCH[1]} _options_help="" _options_kind=""
    [[ $_options_line =~ $_options_comment ]] && _options_help=${BASH_REMATCH[1]}
    [[ $_options_help =~ $_options_words ]] && _options_kind=${BASH_REMATCH[0]}
    case ${!_options_name-} in
      true | false) _options_kind="true|false" ;;
      *[!0-9]* | "") ;;
      *) _options_kind=number ;;
    esac
    _options_names+=("$_options_name") _options_helps+=("$_options_help") _options_kinds+=("$_options_kind")
  done
}

# _options_show PATH: what --help prints.
_options_show() {
  local _options_i _options_name
  sed -n '2,$ { /^#/!q; s/^# \{0,1\}//p; }' "$1"
  printf '\nOptions, with their defaults:\n'
  for _options_i in "${!_options_names[@]}"; do
    _options_name=${_options_names[_options_i]}
    printf '  --%-32s %s\n' "${_options_name//_/-} ${!_options_name:-\"\"}" "${_options_helps[_options_i]}"
  done
}

# _options_set OPTION VALUE...: check the value and set the variable.
_options_set() {
  local _options_i _options_name=${1#--} _options_known="" _options_kind _options_words
  _options_name=${_options_name//-/_}
  for _options_i in "${!_options_names[@]}"; do
    _options_known+=" --${_options_names[_options_i]//_/-}"
    [ "${_options_names[_options_i]}" = "$_options_name" ] || continue
    [ $# -ge 2 ] || _options_fail "$1 needs a value"
    _options_kind=${_options_kinds[_options_i]}
    case $_options_kind in
      "") ;;
      number)
        [[ $2 =~ ^[0-9]{1,15}$ ]] || _options_fail "$1 must be a whole number, 0 or above, not '$2'"
        set -- "$1" $((10#$2)) ;; # 08 is eight
      *)
        _options_words="^($_options_kind)( ($_options_kind))*$"
        [[ $2 =~ $_options_words ]] || _options_fail "$1 must be out of $_options_kind, not '$2'" ;;
    esac
    case $_options_name:$2 in *_dir:[!/]*) set -- "$1" "$PWD/$2" ;; esac
    printf -v "$_options_name" %s "$2"
    return
  done
  _options_fail "unknown option $1; the options are$_options_known"
}

_options_parse() {
  local _options_argument
  for _options_argument in "$@"; do
    case $_options_argument in --help | -h) _options_show "$_options_script" && exit ;; esac
  done
  while [ $# -gt 0 ]; do
    case $1 in
      --?*=*) _options_set "${1%%=*}" "${1#*=}" ;;
      --?*)
        case ${2---} in --*) _options_set "$1" ;; esac # the next option, or nothing, is no value
        _options_set "$1" "$2" && shift ;;
      *) _options_fail "unexpected argument '$1'; options are written --name value" ;;
    esac
    shift
  done
}

_options_names=() _options_helps=() _options_kinds=()
_options_script=$(_options_find "${BASH_SOURCE[1]}" "${BASH_LINENO[0]}") || exit 1
_options_read < <(head -n "${BASH_LINENO[0]}" "$_options_script")
_options_parse "$@"
# what a recipe may set between its options and utils/mss.sh; the environment has no say in it
for _options_name in variant unlabelled_corpus labelled_corpus network pretraining paper_tables; do
  case " ${_options_names[*]} " in *" $_options_name "*) ;; *) unset -v "$_options_name" ;; esac
done
unset -v _options_name _options_names _options_helps _options_kinds _options_script
unset -f _options_fail _options_find _options_read _options_show _options_set _options_parse
