# What a recipe's script is made of: checks of its options, and stages. Source it before
# utils/parse_options.sh; the script's options `stage` and `stop_stage` say which stages are run.

BEGAN=false

fail() { # STATUS MESSAGE
  echo "${0##*/}: $2" >&2
  exit "$1"
}

matches() { # TEXT PATTERN
  local LC_ALL=C # a-z are 26 letters
  [[ $1 =~ ^($2)$ ]]
}

check() { # OPTION PATTERN EXPECTED, before the option is in any arithmetic, path or command
  [[ -z ${!1} ]] || matches "${!1}" "$2" || fail 2 "--$1 must be $3, got ${!1@Q}"
}

refuse_empty() { # WORD...: the options as they were given
  local word
  for word in "$@"; do
    [[ -n $word ]] || fail 2 "an option has an empty value, which none takes: leave the option out"
  done
}

begin() { # STAGE LAST TITLE: whether one of the stages is to be run, which is then announced
  ((stage <= $2 && stop_stage >= $1)) || return 1
  echo "$3"
  BEGAN=true
}

run() { # STAGE TITLE SCRIPT [ARGUMENT...]: run a script of Python if its stage is to be run
  if begin "$1" "$1" "Stage $1: $2"; then
    "$PYTHON" "${@:3}"
  fi
}
