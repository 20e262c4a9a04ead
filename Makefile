# The course's commands. `make lab` to learn, `make test` to check everything.

# The newest Python that can make a virtual environment; PYTHON=/path/to/python takes another one.
PYTHON ?= $(or $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c "import ensurepip, sys, venv; assert (3, 11) <= sys.version_info < (3, 14)" \
	2>/dev/null && echo $$python && break; done),$(error No Python 3.11, 3.12 or 3.13 with venv \
	was found. On Debian or Ubuntu: apt install python3-venv. On a Mac: brew install python@3.13. \
	Or name one that is elsewhere: make lab PYTHON=/path/to/python3.12))
BIN := .venv/bin
PIP := pip install --disable-pip-version-check
# JupyterLab refuses to run as root, as one is in many containers, unless it is told to.
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# Two kernels run side by side: a thread each, for two cores (a tenth quicker than two each).
ONE_THREAD := TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# For runs that no one watches: no weights out of the home folder, no history of cells into it.
APART := KERAS_HOME="$(CURDIR)/build/home/keras" IPYTHONDIR="$(CURDIR)/build/home/ipython" \
	MPLCONFIGDIR="$(CURDIR)/build/home/matplotlib"
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=900 --nbval-sanitize-with=tests/nbval.cfg

.PHONY: lab test check slow fuzz bench swap named resolve course store labs ladder riddle clean

lab: .venv/ready
	$(BIN)/jupyter lab $(ROOT) --ServerApp.root_dir=. \
		--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

test: check
	$(APART) $(BIN)/pytest -n 2 --dist loadfile
	$(APART) $(ONE_THREAD) $(BIN)/pytest $(NBVAL) -p no:python -W default -n 2 --dist loadfile \
		notebooks

check: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/pytest -q tests/test_notebooks.py

# The tests that take more than ten seconds each.
slow: .venv/ready
	$(APART) $(BIN)/pytest -m slow -n 2 --dist loadfile

# Damaged files by the hundred thousand, new ones every time; FUZZ_SEED=N repeats a run.
fuzz: .venv/ready
	FUZZ_INPUTS=$${FUZZ_INPUTS:-100000} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} \
		$(BIN)/pytest -s tools/fuzz

# Ours, the peers and the limit, in turns; writes tools/benchmarks/RESULTS.md. Forty minutes, quiet.
bench: .venv/ready .venv-bench/ready
	$(BIN)/python tools/benchmarks/frame.py

# Runs the lessons with the network that each names in a comment; NAMES="03_predict 10_…" for some.
swap: .venv/ready
	$(APART) $(BIN)/python tools/swap.py $(NAMES)

# Writes the lessons with those networks into build/named, for whoever has weights or a connection.
named: .venv/ready
	$(APART) $(BIN)/python tools/swap.py --write build/named

# Whether constraints.txt can be installed on every system and Python; needs a network.
resolve: build/uv/ready
	build/uv/bin/python tools/resolve.py

# The site, from what the notebooks have stored: open build/site/index.html.
course: .venv/ready
	$(BIN)/sphinx-build -q -W --keep-going -c notebooks/site . build/site

# Runs the notebooks and keeps their outputs in them; NAMES="03_predict 10_…" for some of them.
store: .venv/ready
	$(APART) $(BIN)/python notebooks/build.py --store $(NAMES)

# The students' versions of the labs, in build/labs/release; NAMES="lab1_…" for some of them.
labs: .venv/ready
	$(APART) $(BIN)/python notebooks/labs/release.py $(NAMES)

ladder: .venv/ready
	$(BIN)/python data/measure_ladder.py

# Lesson 10's long runs; resumes. MOBILENET=FILE names MobileNet's weights if Keras has no copy.
riddle: .venv/ready
	$(BIN)/python data/measure_riddle.py $(if $(MOBILENET),--mobilenet "$(MOBILENET)")

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -V
	[ -x $(BIN)/pip ] && [ "`$(BIN)/python -V`" = "`$(PYTHON) -V`" ] || \
		$(PYTHON) -m venv --clear .venv
	$(BIN)/$(PIP) -c constraints.txt -e '.[audio,cluster,labs,site,test]'
	touch $@

.venv-bench/ready: tools/benchmarks/peers.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/$(PIP) -r tools/benchmarks/peers.txt
	touch $@

build/uv/ready:
	$(PYTHON) -m venv build/uv
	build/uv/bin/$(PIP) uv
	touch $@

clean:
	rm -rf .venv .venv-bench build
