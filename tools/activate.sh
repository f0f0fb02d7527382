# shellcheck shell=bash
# Sourced by the recipes: make sure that the environment is there, and use it.
_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$_root/tools/setup_env.sh"
PATH=$_root/.venv/bin:$PATH
