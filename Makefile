# The course's commands. `make lab` to learn, `make test` to check everything.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# JupyterLab refuses to run as root, as one is in many containers, unless it is told to.
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# Two kernels run side by side: a thread each, for two cores (a tenth quicker than two each).
ONE_THREAD := TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=900 --nbval-sanitize-with=tests/nbval.cfg

.PHONY: lab test check fuzz bench course store labs ladder clean

lab: .venv/ready
	$(BIN)/jupyter lab $(ROOT) --ServerApp.root_dir=. \
		--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

test: check
	$(BIN)/pytest -n 2 --dist loadfile
	HELPERS_WEIGHTS=bundled $(ONE_THREAD) $(BIN)/pytest $(NBVAL) -p no:python -W default -n 2 --dist loadfile notebooks

check: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_notebooks.py

# Damaged files by the hundred thousand, new ones every time; FUZZ_SEED=N repeats a run.
fuzz: .venv/ready
	FUZZ_INPUTS=$${FUZZ_INPUTS:-100000} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} \
		$(BIN)/pytest -s tools/fuzz

# Ours, the peers and the limit, in turns; writes tools/benchmarks/RESULTS.md. Forty minutes, quiet.
bench: .venv/ready .venv-bench/ready
	$(BIN)/python tools/benchmarks/frame.py

# The site, from what the notebooks have stored: open build/site/index.html.
course: .venv/ready
	$(BIN)/sphinx-build -q -W --keep-going -c notebooks/site . build/site

# Runs the notebooks and keeps their outputs in them; NAMES="03_predict 10_…" for some of them.
store: .venv/ready
	HELPERS_WEIGHTS=bundled $(BIN)/python notebooks/build.py --store $(NAMES)

# The students' versions of the labs, in build/labs/release; NAMES="lab1_…" for some of them.
labs: .venv/ready
	HELPERS_WEIGHTS=bundled $(BIN)/python notebooks/labs/release.py $(NAMES)

ladder: .venv/ready
	$(BIN)/python data/measure_ladder.py

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[audio,cluster,labs,site,test]'
	touch $@

.venv-bench/ready: tools/benchmarks/peers.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --disable-pip-version-check -r tools/benchmarks/peers.txt
	touch $@

clean:
	rm -rf .venv .venv-bench build
