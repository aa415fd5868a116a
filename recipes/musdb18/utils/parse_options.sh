# Command line options for a recipe script.
#
# Source this file after the defaults are set:
#
#     stage=0
#     with_eval=true
#     . utils/parse_options.sh
#
# `--stage 2`, `--with_eval false` or `--with-eval false` then replace the default of the same name.
# Only lower-case variables to which the sourcing script gives a default at the start of a line are
# options, and one whose default is true or false takes nothing else. `--help` prints the comment
# block at the top of the sourcing script; a mistake ends it with one line and status 2.

_po_script="${BASH_SOURCE[1]}"
_po_defaults=$'\n'$(< "$_po_script")

_po_fail() {
  echo "${_po_script##*/}: $1 (see --help)" >&2
  exit 2
}

_po_help() {
  awk 'NR == 1 && /^#!/ { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' < "$_po_script"
  exit 0
}

while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) _po_help ;;
    --*) ;;
    *) _po_fail "unexpected argument ${1@Q}" ;;
  esac

  _po_name="${1#--}"
  _po_name="${_po_name//-/_}"
  # A variable of the environment is no option, though it be lower-case.
  if ! [[ "$_po_name" =~ ^[a-z][a-z0-9_]*$ && -v "$_po_name" ]] ||
    [[ "$_po_defaults" != *$'\n'"$_po_name="* ]]; then
    _po_fail "unknown option ${1@Q}"
  fi
  # `--tag --stage 2` forgot the value of --tag. Options for another script have spaces in them.
  if [ $# -lt 2 ] || [[ "$2" =~ ^--[a-z_-]+$ ]]; then
    _po_fail "option ${1@Q} needs a value"
  fi
  if [[ "${!_po_name}" =~ ^(true|false)$ && ! "$2" =~ ^(true|false)$ ]]; then
    _po_fail "option ${1@Q} is true or false, not ${2@Q}"
  fi
  printf -v "$_po_name" '%s' "$2"
  shift 2
done

unset _po_script _po_name _po_defaults
unset -f _po_fail _po_help
