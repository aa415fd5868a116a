#!/usr/bin/env bash
# Train the denoising auto-encoder on MUSDB18 and compare its binary-mask separation with the
# STFT's.
#
#   ./run.sh --musdb18_dir DIR [--stage 0] [--stop_stage 4] [--tag NAME] [--id GPU]
#
# Stages:
#   0  get the data: nothing to do with --musdb18_dir; --download true gets musdb's 7-second
#      sample; with neither, the 6-second excerpt that comes with stempeg is used
#   1  prepare: decode each track once into mono vocals and accompaniment
#   2  train, or continue where a training was cut off
#   3  evaluate the auto-encoder and the STFT
#   4  write the table
#
# Options:
#   --musdb18_dir DIR   stems (.stem.mp4) or MUSDB18-HQ (.wav) in DIR/train and DIR/test
#   --download BOOL     get musdb's sample into --musdb18_dir, or data/musdb18-7
#   --data_dir DIR      prepared data; by default under data/, one folder a source
#   --strict BOOL       stop at the first unusable track instead of skipping it
#   --conf FILE         configuration
#   --train_args ARGS   options of train.py that replace the configuration's values, in one word:
#                       --train_args "--lr 1.0e-3 --max_steps 3000"
#   --tag NAME          results are in exp/train_sinudae_NAME
#   --id GPU            CUDA_VISIBLE_DEVICES
#   --python_path FILE  interpreter
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

stage=0
stop_stage=4
tag=paper
id=
python_path=python
musdb18_dir=
download=false
data_dir=
strict=false
conf=local/conf.yml
train_args=

. utils/parse_options.sh

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
exp_dir=exp/train_sinudae_$tag

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

if ((stage <= 2 && stop_stage >= 2)); then
  echo "Stage 2: train"
  # train_args holds several words
  # shellcheck disable=SC2086
  "$python_path" train.py --conf "$conf" --exp_dir "$exp_dir" --data_dir "$data_dir" $train_args
fi

if ((stage <= 3 && stop_stage >= 3)); then
  echo "Stage 3: evaluate"
  "$python_path" eval.py --exp_dir "$exp_dir" --data_dir "$data_dir"
fi

if ((stage <= 4 && stop_stage >= 4)); then
  echo "Stage 4: table"
  "$python_path" tables.py "$exp_dir" --output "$exp_dir/table.md"
fi
