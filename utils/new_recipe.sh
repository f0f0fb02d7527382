#!/usr/bin/env bash
# Begin a recipe: utils/new_recipe.sh NAME copies egs/TEMPLATE to egs/NAME, where ./run.sh works at once.
# What to change in it, in which order, is in egs/README.md.
set -euo pipefail
unset CDPATH

fail() {
  printf 'new_recipe.sh: %s\n' "$*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "give one name, as in utils/new_recipe.sh my_songs"
if [ "$1" = --help ] || [ "$1" = -h ]; then exec sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; fi
[[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9_-]*$ ]] ||
  fail "'$1' is no name for a recipe: take letters, digits, _ and -, the first a letter or digit"
cd "$(dirname "${BASH_SOURCE[0]}")/../egs"
[ ! -e "$1" ] || fail "egs/$1 is there already: take another name, or remove it"

partial=.new_recipe.$1.$$ # renamed when it is whole
trap 'rm -rf "$partial"' EXIT
mkdir "$partial"
cp -R TEMPLATE/run.sh TEMPLATE/README.md TEMPLATE/conf TEMPLATE/local "$partial"
for file in run.sh README.md; do
  sed "s/TEMPLATE/$1/g" "TEMPLATE/$file" >"$partial/$file"
done
mv "$partial" "$1"
cat <<END
egs/$1 is there, and runs as it is: egs/$1/run.sh
Then say in it where your songs are (run.sh, local/download.sh), which network and training they are
for (conf/), and what it is about (README.md, and a line in the table of egs/README.md).
END
