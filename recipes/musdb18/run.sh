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
#   --musdb18_dir DIR   stems (.stem.mp4) or MUSDB18-HQ (.wav) in DIR/train and DIR/test
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
#                       exp/train_separator_NAME
#   --id GPU            CUDA_VISIBLE_DEVICES
#   --python_path FILE  interpreter
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
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

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

. utils/parse_options.sh

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
  data_dir=data/prepared_$(basename "${musdb18_dir:-excerpt}")
fi
if [[ -n $max_steps ]]; then
  train_args+=" --max_steps $max_steps"
fi
if [[ -n $experiment ]] && ((stop_stage >= 6)); then
  echo "run.sh: stages 6 and 7 need a --tag, not an --experiment" >&2
  exit 1
fi
if [[ -z $experiment ]]; then
  if [[ -n $rows$seeds$shard$report_row ]]; then
    echo "run.sh: --rows, --seeds, --shard and --report_row need an --experiment" >&2
    exit 1
  fi
  exp_dir=exp/train_sinudae_$tag
else
  if [[ -z $report_row ]]; then
    case $rows,$experiment in
      ,table1) report_row=conv_modcos_squared ;;
      ,table2) report_row=c800_am ;;
      ,table3) report_row=s256_tv ;;
    esac
    for row in $rows; do
      if [[ -z $report_row && $row != stft_* ]]; then
        report_row=$row
      fi
    done
  fi
  # The run that museval and the page are about.
  first_seed=${seeds%% *}
  exp_dir=exp/$experiment/${report_row}_seed${first_seed:-0}
fi
has_page=true
if [[ -n $shard ]]; then
  has_page=false
elif [[ -n $experiment && -z $report_row ]]; then
  echo "run.sh: note: without a --report_row there is no museval and no page" >&2
  has_page=false
fi

source_args=()
if [[ -n $musdb18_dir ]]; then
  source_args=(--musdb18_dir "$musdb18_dir")
fi

if ((stage <= 0 && stop_stage >= 0)); then
  echo "Stage 0: get the data"
  download_args=()
  if [[ $download == true ]]; then
    download_args=(--download)
  fi
  "$python_path" local/get_data.py "${source_args[@]}" "${download_args[@]}"
fi

if ((stage <= 1 && stop_stage >= 1)); then
  echo "Stage 1: prepare"
  strict_args=()
  if [[ $strict == true ]]; then
    strict_args=(--strict)
  fi
  "$python_path" local/prepare.py --data_dir "$data_dir" "${source_args[@]}" "${strict_args[@]}"
fi

if [[ -n $experiment ]] && ((stage <= 4 && stop_stage >= 2)); then
  echo "Stages 2 to 4: $experiment"
  # rows, seeds and train_args hold several words
  # shellcheck disable=SC2086
  "$python_path" tables.py --experiment "$experiment" --conf "$conf" --data_dir "$data_dir" \
    ${rows:+--rows $rows} ${seeds:+--seeds $seeds} ${shard:+--shard "$shard"} $train_args
fi

if [[ -z $experiment ]] && ((stage <= 2 && stop_stage >= 2)); then
  echo "Stage 2: train"
  # train_args holds several words
  # shellcheck disable=SC2086
  "$python_path" train.py --conf "$conf" --exp_dir "$exp_dir" --data_dir "$data_dir" $train_args
fi

if [[ -z $experiment ]] && ((stage <= 3 && stop_stage >= 3)); then
  echo "Stage 3: evaluate"
  "$python_path" eval.py --exp_dir "$exp_dir" --data_dir "$data_dir"
fi

if [[ $museval == true && $has_page == true ]] && ((stage <= 3 && stop_stage >= 3)); then
  echo "Stage 3: museval"
  "$python_path" eval_museval.py --exp_dir "$exp_dir" --data_dir "$data_dir" \
    ${n_tracks:+--n_tracks "$n_tracks"} ${duration:+--duration "$duration"}
fi

if [[ -z $experiment ]] && ((stage <= 4 && stop_stage >= 4)); then
  echo "Stage 4: table"
  "$python_path" compare.py "$exp_dir" --output "$exp_dir/table.md"
fi

if [[ $has_page == true ]] && ((stage <= 5 && stop_stage >= 5)); then
  echo "Stage 5: page"
  table_args=()
  if [[ -n $experiment ]]; then
    table_args=(--tables exp/*/table.csv)
  fi
  "$python_path" report.py --exp_dir "$exp_dir" --data_dir "$data_dir" "${table_args[@]}"
fi

separator_dir=exp/train_separator_$tag
if ((stage <= 6 && stop_stage >= 6)); then
  echo "Stage 6: train separators"
  # separator_args holds several words
  # shellcheck disable=SC2086
  "$python_path" train_separator.py --conf "$separator_conf" --exp_dir "$separator_dir" \
    --pair_dir "$exp_dir" --data_dir "$data_dir" $separator_args
fi

if ((stage <= 7 && stop_stage >= 7)); then
  echo "Stage 7: evaluate separators"
  museval_args=()
  if [[ $museval == true ]]; then
    museval_args=(--museval ${n_tracks:+--n_tracks "$n_tracks"} ${duration:+--duration "$duration"})
  fi
  "$python_path" eval_separator.py --exp_dir "$separator_dir" --pair_dir "$exp_dir" \
    --data_dir "$data_dir" "${museval_args[@]}"
fi
