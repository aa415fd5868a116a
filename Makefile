# Everything runs in .venv, which holds exactly the versions of constraints.txt.
PYTHON ?= python3

.PHONY: demo test docs lint format bench clean ffmpeg .venv

demo: .venv ffmpeg
	cd recipes/musdb18 && ./run.sh --python_path "$(CURDIR)/.venv/bin/python" --table demo --seeds 0

test: .venv ffmpeg
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# Warnings are errors; the tutorial is executed, on the excerpt that comes with stempeg.
docs: .venv ffmpeg
	OMP_NUM_THREADS=1 .venv/bin/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# With memory as run.sh sets it.
bench: .venv
	THP_MEM_ALLOC_ENABLE=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1099511627776 \
	  .venv/bin/python benchmarks/run.py

lint: .venv
	.venv/bin/black --check --quiet --diff .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: .venv
	.venv/bin/black --quiet .
	.venv/bin/ruff check --fix .

clean:
	rm -rf .venv build dist docs/_build *.egg-info .pytest_cache .ruff_cache recipes/*/exp recipes/*/data
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv: .venv/installed

# The stamp is written last: an install that fails or is interrupted starts afresh the next time.
.venv/installed: constraints.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "constraints.txt is for Python 3.11 or newer, unlike '$(PYTHON)': try make PYTHON=python3.11" >&2; \
	  exit 1; }
	@echo "Installing into .venv (a few minutes the first time)"
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python -m pip install -e '.[dev]' -c constraints.txt >.venv/pip.log 2>&1 || { \
	  grep -v 'is ignored' .venv/pip.log | tail -n 30 >&2; \
	  exit 1; }
	@touch $@

# The demo's audio files are written and read through ffmpeg and ffprobe.
ffmpeg:
	@if command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null; then \
	  :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing ffmpeg"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends ffmpeg >/dev/null; \
	else \
	  echo "ffmpeg and ffprobe are missing: install the package 'ffmpeg'" >&2; \
	  exit 1; \
	fi
