#!/usr/bin/env bash
# Train the denoising auto-encoder on MUSDB18 and compare its binary-mask separation with the
# STFT's: one training, or an experiment, three runs of every row of a table.
#
#   ./run.sh --musdb18_dir DIR [--stage 0] [--stop_stage 5] [--tag NAME] [--id GPU]
#   ./run.sh --musdb18_dir DIR --experiment table1 [--rows "ROW ROW"] [--shard i/n]
#
# Stages:
#   0  get the data: nothing to do with --musdb18_dir; --download true gets musdb's 7-second
#      sample; with neither, the 6-second excerpt that comes with stempeg is used
#   1  prepare: decode each track once into mono vocals and accompaniment
#   2  train, or continue where a training was cut off
#   3  evaluate the auto-encoder, the STFT, and the pretrained models that the configuration names
#   4  write the table
#   5  make the page to look at and listen to
#   6  train separators of vocals and accompaniment on the frozen auto-encoder and on the STFT
#   7  evaluate them beside the masks that know the sources
# Stages 6 and 7 run when asked for: --stage 6 --stop_stage 7.
# With --experiment, stages 2 to 4 are one: they run what is left of all rows and write the table.
#
# Options:
#   --musdb18_dir DIR   stems (.stem.mp4) or MUSDB18-HQ (.wav or .flac) in DIR/train and DIR/test
#   --download BOOL     get musdb's sample into --musdb18_dir, or data/musdb18-7
#   --data_dir DIR      prepared data; by default under data/, one folder a source
#   --strict BOOL       stop at the first unusable track instead of skipping it
#   --conf FILE         configuration
#   --max_steps N       updates of a training at most; untrained rows of an experiment stay so
#   --train_args ARGS   options of train.py that replace the configuration's values, in one word:
#                       --train_args "--lr 1.0e-3 --max_steps 3000"
#   --museval BOOL      stages 3 and 7 also score whole test tracks by museval, of an experiment
#                       those of the run that the page shows
#   --n_tracks N        ... the first N tracks only
#   --duration SECONDS  ... the first seconds of each only
#   --separator_conf FILE  configuration of stage 6
#   --separator_args ARGS  options of train_separator.py, as --train_args
#   --tag NAME          results are in exp/train_sinudae_NAME, those of stages 6 and 7 in
#                       exp/train_separator_NAME; letters, digits, ., _ and -
#   --id GPU            CUDA_VISIBLE_DEVICES
#   --python_path FILE  interpreter
# Relative paths start from this script's folder. An option that makes no sense ends with status 2,
# a call with nothing to do with status 1, each with one line.
#
# Options of an experiment, whose results are in exp/EXPERIMENT/ROW_seedK, of baselines in
# exp/EXPERIMENT/ROW:
#   --experiment NAME   table1 or table2, the paper's, or table3: starts, objectives and budgets; see
#                       local/experiments.yml
#   --rows ROWS         rows to run, in one word; default: all
#   --seeds SEEDS       one run each, in one word; default: "0 1 2"
#   --shard i/n         run the i-th of n shares of the runs, on one of n GPUs or machines with one
#                       exp folder; leaves out museval and the page
#   --report_row ROW    the page is of this row's first run; default: the first of --rows that is no
#                       baseline, without --rows conv_modcos_squared of table1, c800_am of table2,
#                       s256_tv of table3. Baselines alone have no museval and no page
set -euf -o pipefail # -f: the words of an option never stand for names of files

stage=0
stop_stage=5
tag=paper
id=
python_path=python
musdb18_dir=
download=false
data_dir=
strict=false
conf=local/conf.yml
max_steps=
train_args=
separator_conf=local/conf_separator.yml
separator_args=
museval=false
n_tracks=
duration=
experiment=
rows=
seeds=
shard=
report_row=


case ${BASH_SOURCE[0]} in
  */*) RECIPE=${BASH_SOURCE[0]%/*}/ ;;
  *) RECIPE=./ ;;
esac
GIVEN=("$@")
. "${RECIPE}utils/parse_options.sh"
CDPATH='' cd -- "$RECIPE"

fail() { # STATUS MESSAGE
  echo "run.sh: $2" >&2
  exit "$1"
}

matches() { # TEXT PATTERN
  local LC_ALL=C # a-z are 26 letters
  [[ $1 =~ ^($2)$ ]]
}

check() { # OPTION PATTERN EXPECTED, before the option is in any arithmetic or path
  if [[ -n ${!1} ]] && ! matches "${!1}" "$2"; then
    fail 2 "--$1 must be $3, got ${!1@Q}"
  fi
}

begin() { # STAGE TITLE: whether the stage is to run, which it then announces
  if ((stage > $1 || stop_stage < $1)); then
    return 1
  fi
  echo "Stage $1: $2"
  began=true
}

for word in "${GIVEN[@]}"; do
  if [[ -z $word ]]; then
    fail 2 "an option has an empty value, which none takes: leave the option out"
  fi
done
NUMBER='[1-9][0-9]{0,8}'
NAME='[A-Za-z0-9][A-Za-z0-9._-]{0,99}'
ROW='[a-z0-9_]{1,100}'
DEVICE='([0-9]{1,4}|(GPU|MIG)-[0-9A-Za-z/-]+)'
check stage '[0-7]' 'a stage, 0 to 7'
check stop_stage '[0-7]' 'a stage, 0 to 7'
check tag "$NAME" 'made of letters, digits, ., _ and -, and begin with a letter or digit'
check id "-1|$DEVICE(,$DEVICE)*" 'GPUs by number or UUID, as 0 or 0,1'
check max_steps "-1|0|$NUMBER" 'a whole number, -1 for no limit'
check n_tracks "$NUMBER" 'a whole number of at least 1'
check duration "$NUMBER([.][0-9]*)?" 'a number of seconds, at least 1'
check experiment "$ROW" 'made of a-z, 0-9 and _'
check rows " *$ROW( +$ROW)* *" 'names of rows, in one word'
check seeds " *(0|$NUMBER)( +(0|$NUMBER))* *" 'whole numbers of at least 0, in one word'
check shard "$NUMBER/$NUMBER" 'i/n with i from 1 to n'
check report_row "$ROW" 'the name of a row'
for option in musdb18_dir data_dir conf separator_conf python_path; do
  check "$option" '[^-].*' 'a path that does not begin with -'
done
for option in train_args separator_args; do
  check "$option" '[[:space:]]*--.*' 'options that begin with --, in one word'
done
for word in $train_args $separator_args; do
  case $word in
    --exp_dir* | --data_dir* | --pair_dir* | --conf | --conf=*)
      fail 2 "$word is not for --train_args or --separator_args: run.sh gives it" ;;
  esac
done
if [[ -n $shard ]] && ((${shard%/*} > ${shard#*/})); then
  fail 2 "--shard must be i/n with i from 1 to n, got '$shard'"
fi
if [[ $report_row == stft_* ]]; then
  fail 2 "--report_row must be a row that is trained, got '$report_row'"
fi
if [[ -n $experiment ]] && ((stop_stage >= 6)); then
  fail 2 "stages 6 and 7 need a --tag, not an --experiment"
fi
if [[ -z $experiment && -n $rows$seeds$shard$report_row ]]; then
  fail 2 "--rows, --seeds, --shard and --report_row need an --experiment"
fi
if ((stop_stage < stage)); then
  fail 1 "nothing to do: --stop_stage $stop_stage is before --stage $stage"
fi
if ! python=$(type -P -- "$python_path"); then
  fail 2 "--python_path must be an interpreter that can be run, got ${python_path@Q}"
fi

# Large pages of memory for PyTorch on Linux: a training step on two cores took 8% less time.
export THP_MEM_ALLOC_ENABLE=1
if [[ -n $id ]]; then
  export CUDA_VISIBLE_DEVICES=$id
fi
# The scripts in local/ and the recipe's utils are found from here.
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

if [[ $download == true && -z $musdb18_dir ]]; then
  musdb18_dir=data/musdb18-7
fi
if [[ -z $data_dir ]]; then
  source_name=${musdb18_dir:-excerpt}
  while [[ $source_name == */ ]]; do
    source_name=${source_name%/}
  done
  source_name=${source_name##*/}
  case $source_name in
    '' | . | ..) fail 2 "--musdb18_dir ${musdb18_dir@Q} names no folder: give a --data_dir as well" ;;
  esac
  data_dir=data/prepared_$source_name
fi
if [[ -n $max_steps ]]; then
  train_args+=" --max_steps $max_steps"
fi
if [[ -z $experiment ]]; then
  exp_dir=exp/train_sinudae_$tag
else
  if [[ -z $report_row ]]; then
    case $rows,$experiment in
      ,table1) report_row=conv_modcos_squared ;;
      ,table2) report_row=c800_am ;;
      ,table3) report_row=s256_tv ;;
    esac
    for word in $rows; do
      if [[ -z $report_row && $word != stft_* ]]; then
        report_row=$word
      fi
    done
  fi
  # The run that museval and the page are about.
  read -r first_seed _ <<< "${seeds:-0}"
  exp_dir=exp/$experiment/${report_row}_seed$first_seed
fi
has_page=true
if [[ -n $shard ]]; then
  has_page=false
elif [[ -n $experiment && -z $report_row ]]; then
  echo "run.sh: note: without a --report_row there is no museval and no page" >&2
  has_page=false
fi

began=false
source_args=()
if [[ -n $musdb18_dir ]]; then
  source_args=(--musdb18_dir "$musdb18_dir")
fi

if begin 0 "get the data"; then
  download_args=()
  if [[ $download == true ]]; then
    download_args=(--download)
  fi
  "$python" local/get_data.py "${source_args[@]}" "${download_args[@]}"
fi

if begin 1 "prepare"; then
  strict_args=()
  if [[ $strict == true ]]; then
    strict_args=(--strict)
  fi
  "$python" local/prepare.py --data_dir "$data_dir" "${source_args[@]}" "${strict_args[@]}"
fi

# rows, seeds, train_args and separator_args hold several words
# shellcheck disable=SC2086
if [[ -n $experiment ]] && ((stage <= 4 && stop_stage >= 2)); then
  echo "Stages 2 to 4: $experiment"
  began=true
  "$python" tables.py --experiment "$experiment" --conf "$conf" --data_dir "$data_dir" \
    ${rows:+--rows $rows} ${seeds:+--seeds $seeds} ${shard:+--shard "$shard"} $train_args
fi

# shellcheck disable=SC2086
if [[ -z $experiment ]] && begin 2 "train"; then
  "$python" train.py --conf "$conf" --exp_dir "$exp_dir" --data_dir "$data_dir" $train_args
fi

if [[ -z $experiment ]] && begin 3 "evaluate"; then
  "$python" eval.py --exp_dir "$exp_dir" --data_dir "$data_dir"
fi

if [[ $museval == true && $has_page == true ]] && begin 3 "museval"; then
  "$python" eval_museval.py --exp_dir "$exp_dir" --data_dir "$data_dir" \
    ${n_tracks:+--n_tracks "$n_tracks"} ${duration:+--duration "$duration"}
fi

if [[ -z $experiment ]] && begin 4 "table"; then
  "$python" compare.py "$exp_dir" --output "$exp_dir/table.md"
fi

if [[ $has_page == true ]] && begin 5 "page"; then
  table_args=()
  if [[ -n $experiment ]]; then
    set +f
    table_args=(--tables exp/*/table.csv)
    set -f
  fi
  "$python" report.py --exp_dir "$exp_dir" --data_dir "$data_dir" "${table_args[@]}"
fi

separator_dir=exp/train_separator_$tag
# shellcheck disable=SC2086
if begin 6 "train separators"; then
  "$python" train_separator.py --conf "$separator_conf" --exp_dir "$separator_dir" \
    --pair_dir "$exp_dir" --data_dir "$data_dir" $separator_args
fi

if begin 7 "evaluate separators"; then
  museval_args=()
  if [[ $museval == true ]]; then
    museval_args=(--museval ${n_tracks:+--n_tracks "$n_tracks"} ${duration:+--duration "$duration"})
  fi
  "$python" eval_separator.py --exp_dir "$separator_dir" --pair_dir "$exp_dir" \
    --data_dir "$data_dir" "${museval_args[@]}"
fi

if [[ $began == false ]]; then
  fail 1 "nothing to do: the page of stage 5 is left out, with a --shard or of baselines alone"
fi
