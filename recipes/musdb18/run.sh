#!/usr/bin/env bash
# Train the denoising auto-encoder on MUSDB18 and compare its binary-mask separation with the
# STFT's: one training, or a table, three runs of each of its rows. README.md says more.
#
#   ./run.sh --musdb18_dir DIR [--stage 0] [--stop_stage 5] [--tag NAME] [--id GPU]
#   ./run.sh --musdb18_dir DIR --table table1 [--rows "ROW ROW"] [--shard i/n]
#
# Stages: 0 get the data, 1 prepare it, 2 train or continue, 3 evaluate, 4 write the table, 5 make
# the page; 2 to 4 are one with --table; when asked for, 6 train separators, 7 evaluate them.
#
#   --musdb18_dir DIR   stems (.stem.mp4) or MUSDB18-HQ (.wav or .flac) in DIR/train and DIR/test;
#                       without it the 6-second excerpt that comes with stempeg is used
#   --download BOOL     get musdb's 7-second sample into --musdb18_dir, or data/musdb18-7
#   --data_dir DIR      prepared data; by default under data/, one folder a source
#   --strict BOOL       stop at the first unusable track; --stereo BOOL keep side signals, for `pan`
#   --conf FILE         configuration; --separator_conf FILE that of stage 6
#   --train_args ARGS   options of train.py in one word, as --train_args "--lr 1.0e-3 --epochs 3";
#                       --separator_args ARGS those of train_separator.py
#   --max_steps N       updates of a training at most; untrained rows of a table stay so
#   --museval BOOL      stages 3 and 7 also score whole test tracks by museval: --n_tracks N the
#                       first N only, --duration SECONDS the start of each only
#   --tag NAME          results are in exp/train_sinudae_NAME and exp/train_separator_NAME
#   --id GPU            CUDA_VISIBLE_DEVICES; --python_path FILE the interpreter
#   --table NAME        a table of local/tables.yml; results are in exp/NAME/ROW_seedK
#   --rows ROWS         its rows, one word; default: all; --seeds SEEDS a run each, default: "0 1 2"
#   --shard i/n         run the i-th of n shares of the runs; leaves out museval and the page
#   --report_row ROW    museval and the page are of this row's first run; default: the first of
#                       --rows that is no baseline, without --rows the report_row of the table
# A wrong option ends with status 2, a call with nothing to do with status 1.
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
stereo=false
conf=local/conf.yml
max_steps=
train_args=
separator_conf=local/conf_separator.yml
separator_args=
museval=false
n_tracks=
duration=
table=
rows=
seeds=
shard=
report_row=

case ${BASH_SOURCE[0]} in */*) RECIPE=${BASH_SOURCE[0]%/*}/ ;; *) RECIPE=./ ;; esac
set -- "${@/#--experiment/--table}" # as the option was called before
GIVEN=("$@")
. "${RECIPE}utils/stages.sh"
. "${RECIPE}utils/parse_options.sh"
CDPATH='' cd -- "$RECIPE"

refuse_empty "${GIVEN[@]}"
NUMBER='[1-9][0-9]{0,8}' ROW='[a-z0-9_]{1,100}' DEVICE='([0-9]{1,4}|(GPU|MIG)-[0-9A-Za-z/-]+)'
check stage '[0-7]' 'a stage, 0 to 7'
check stop_stage '[0-7]' 'a stage, 0 to 7'
check tag '[A-Za-z0-9][A-Za-z0-9._-]{0,99}' \
  'made of letters, digits, ., _ and -, and begin with a letter or digit'
check id "-1|$DEVICE(,$DEVICE)*" 'GPUs by number or UUID, as 0 or 0,1'
check max_steps "-1|0|$NUMBER" 'a whole number, -1 for no limit'
check n_tracks "$NUMBER" 'a whole number of at least 1'
check duration "$NUMBER([.][0-9]*)?" 'a number of seconds, at least 1'
check table "$ROW" 'made of a-z, 0-9 and _'
check rows " *$ROW( +$ROW)* *" 'names of rows, in one word'
check seeds " *(0|$NUMBER)( +(0|$NUMBER))* *" 'whole numbers of at least 0, in one word'
check shard "$NUMBER/$NUMBER" 'i/n with i from 1 to n'
[[ -z $shard ]] || ((${shard%/*} <= ${shard#*/})) || check shard - 'i/n with i from 1 to n'
check report_row "$ROW" 'the name of a row'
[[ $report_row != stft_* ]] || check report_row - 'a row that is trained'
for option in musdb18_dir data_dir conf separator_conf python_path; do
  check "$option" '[^-].*' 'a path that does not begin with -'
done
check train_args '[[:space:]]*--.*' 'options that begin with --, in one word'
check separator_args '[[:space:]]*--.*' 'options that begin with --, in one word'
for word in $train_args $separator_args; do
  [[ ! $word =~ ^--((exp|data|pair)_dir|conf$|conf=) ]] ||
    fail 2 "$word is not for --train_args or --separator_args: run.sh gives it"
done
[[ -z $table ]] || ((stop_stage < 6)) || fail 2 "stages 6 and 7 need a --tag, not a --table"
[[ -n $table || -z $rows$seeds$shard$report_row ]] ||
  fail 2 "--rows, --seeds, --shard and --report_row need a --table"
((stage <= stop_stage)) || fail 1 "nothing to do: --stop_stage $stop_stage is before --stage $stage"
PYTHON=$(type -P -- "$python_path") ||
  fail 2 "--python_path must be an interpreter that can be run, got ${python_path@Q}"
for option in download strict stereo museval; do
  [[ ${!option} == true ]] || printf -v "$option" '' # nothing, which false is not
done
[[ -z $download || -n $musdb18_dir ]] || musdb18_dir=data/musdb18-7
if [[ -z $data_dir ]]; then
  data_dir=${musdb18_dir:-excerpt}
  data_dir=${data_dir%"${data_dir##*[!/]}"} # without slashes at its end
  data_dir=data/prepared_${data_dir##*/}
  [[ ! $data_dir =~ ^data/prepared_\.{0,2}$ ]] ||
    fail 2 "--musdb18_dir ${musdb18_dir@Q} names no folder: give a --data_dir as well"
fi

EXP=exp/train_sinudae_$tag SEPARATORS=exp/train_separator_$tag HAS_PAGE=1
if [[ -n $table ]]; then
  OF_TABLE='/^[^ #]/ { is_it = $1 == name } is_it && $1 == "report_row:" { print $2 }'
  [[ -n $rows$report_row ]] || report_row=$(awk -v name="$table:" "$OF_TABLE" local/tables.yml)
  for word in $rows; do
    [[ -n $report_row || $word == stft_* ]] || report_row=$word
  done
  read -r first_seed _ <<< "${seeds:-0}"
  EXP=exp/$table/${report_row}_seed$first_seed
  [[ -n $report_row && -z $shard ]] || HAS_PAGE=
  [[ -n $report_row$shard ]] ||
    echo "run.sh: note: without a --report_row there is no museval and no page" >&2
fi
# On Linux, large pages for PyTorch, and freed memory stays with the process: see docs/speed.md.
export THP_MEM_ALLOC_ENABLE=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=$((2 ** 40))
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} ${id:+CUDA_VISIBLE_DEVICES="$id"} # for utils

FROM=(${musdb18_dir:+--musdb18_dir "$musdb18_dir"}) WHERE=(--exp_dir "$EXP" --data_dir "$data_dir")
PART=(${n_tracks:+--n_tracks "$n_tracks"} ${duration:+--duration "$duration"})
TRAIN="$train_args ${max_steps:+--max_steps $max_steps}"
# shellcheck disable=SC2086 # rows, seeds, TRAIN and separator_args hold several words
run 0 "get the data" local/get_data.py "${FROM[@]}" ${download:+--download}
run 1 "prepare" local/prepare.py --data_dir "$data_dir" "${FROM[@]}" \
  ${strict:+--strict} ${stereo:+--stereo}
if [[ -z $table ]]; then
  run 2 "train" train.py --conf "$conf" "${WHERE[@]}" $TRAIN
  run 3 "evaluate" eval.py "${WHERE[@]}"
elif begin 2 4 "Stages 2 to 4: $table"; then
  "$PYTHON" tables.py --table "$table" --conf "$conf" --data_dir "$data_dir" \
    ${rows:+--rows $rows} ${seeds:+--seeds $seeds} ${shard:+--shard "$shard"} $TRAIN
fi
[[ -z $museval || -z $HAS_PAGE ]] || run 3 "museval" eval_museval.py "${WHERE[@]}" "${PART[@]}"
[[ -n $table ]] || run 4 "table" compare.py "$EXP" --output "$EXP/table.md"
set +f # the patterns stand for all tables and separators that are there by now
SHOWN=(${table:+--tables exp/*/table.csv}) TRAINED=("$SEPARATORS"/*/best_model.pth)
set -f
[[ -n $table || ! -f ${TRAINED[0]} ]] || SHOWN=(--separators "$SEPARATORS")
[[ -z $HAS_PAGE ]] || run 5 "page" report.py "${WHERE[@]}" "${SHOWN[@]}"
BOTH=(--exp_dir "$SEPARATORS" --pair_dir "$EXP" --data_dir "$data_dir")
run 6 "train separators" train_separator.py --conf "$separator_conf" "${BOTH[@]}" $separator_args
run 7 "evaluate separators" eval_separator.py "${BOTH[@]}" ${museval:+--museval "${PART[@]}"}
[[ $BEGAN == true ]] ||
  fail 1 "nothing to do: the page of stage 5 is left out, with a --shard or of baselines alone"
