# Needs Python 3.11 or later with pip, and make. Everything else goes into VENV and build/.
#
#   make demo       run the quickstart notebook, print its result and its proof
#   make test       all checks and all tests, against the installed wheel
#   make test-fast  unit tests and checks only, a part of the examples; less than a minute
#   make test-aws       the AWS platform against emulators; part of `make test`
#   make fuzz           every reader of stored bytes, for some minutes; FUZZ=20000 for longer
#   make test-browser   what a person sees in JupyterLab and Notebook 7; part of `make test` where there is a chromium
#   make test-kernels   the live panel and the quickstart notebook in kernels of several versions; not part of `make test`
#   make test-random    the tests of this machine in any order: SEED=7 for the one that was printed
#   make coverage       which lines and branches those tests reach; a page for each module in build/coverage
#   make chaos      200 jobs while processes are killed, disks fill up and stored bytes rot; a quarter of an hour
#   make stories        thousands of simulated jobs under any troubles: SEEDS=5000
#   make mutants        plant some dozen bugs, one at a time: the tests must catch each
#   make bench-quick    this package beside code written by hand, in two minutes
#   make bench          beside its peers too, in more than an hour
#   make bench-profile  where the time of a workload goes: W=W1
#   make aws-smoke      a small job on a real account; needs credentials and a deployment
#   make docs           the documentation as a site in build/site; a link that leads nowhere is an error. Part of `make test`
#   make lint format wheel constraints clean

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Folders count too: their time tells of a file that is gone.
SOURCES := $(shell find smr_notebook kernels -name __pycache__ -prune -o -print) setup.cfg pyproject.toml MANIFEST.in README.md LICENSE
AWS_NOTEBOOK := notebooks/aws.ipynb
NOTEBOOKS := $(filter-out $(AWS_NOTEBOOK),$(sort $(wildcard notebooks/*.ipynb)))
MINISTACK_VERSION := 1.5.33
MINISTACK := build/ministack/.installed
BROWSER := build/browser-venv
CHROMIUM := $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name) 2>/dev/null)))
BROWSER_TOOLS := jupyterlab notebook playwright pytest pytest-timeout hypothesis nbval
KERNELS := 6.31 7.0 7.3 7.4
KERNEL_TOOLS := nbclient nbformat nbval pytest pytest-timeout hypothesis
AWS = SMR_TEST_MINISTACK=$(abspath build/ministack/bin/python) SMR_TEST_IMAGE_CACHE=$(abspath build/image)
# What needs no emulator, no server and no browser.
HERE := $(addprefix tests/,unit checks conformance simulation fuzz integration peers notebook)
NEGATIVE := $(sort $(wildcard notebooks/negative/*.ipynb))
NBVAL = $(BIN)/pytest -q -p no:cacheprovider --nbval --nbval-sanitize-with $$($(BIN)/python -m smr_notebook nbval-sanitize)

# Tests see the installed wheel and nobody's settings, never the folder beside them.
unexport PYTHONPATH PYTHONHOME $(filter SMR_%,$(.VARIABLES))
export IPYTHONDIR := $(abspath $(VENV))/ipython
export JUPYTER_CONFIG_DIR := $(abspath $(VENV))/jupyter
export JUPYTER_DATA_DIR := $(abspath $(VENV))/jupyter/data

# A workspace for one recipe: afterwards its service is ended and the folder is gone.
IN_WORKSPACE = export SMR_WORKSPACE=$$(mktemp -d); \
	trap '$(BIN)/python -c "import smr_notebook; smr_notebook.Session().close()"; rm -rf "$$SMR_WORKSPACE"' EXIT

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: demo test test-fast test-random coverage fuzz stories mutants chaos test-aws test-browser test-kernels test-notebooks test-aws-notebook test-negative test-wheel aws-smoke bench bench-quick bench-peers bench-profile pytest docs lint format wheel install constraints clean

demo: install
	@$(IN_WORKSPACE); $(BIN)/python notebooks/show.py notebooks/quickstart.ipynb

# pytest comes last: its closing line is the summary.
test: lint docs test-wheel test-negative test-notebooks test-aws-notebook test-browser pytest

pytest: install $(MINISTACK)
	@SMR_TEST_INSTALLED=1 $(AWS) $(BIN)/pytest -q --ignore=tests/browser tests

# All of AWS that can be had without an account: emulators, AWS's own runtime client, the image.
test-aws: install $(MINISTACK)
	@SMR_TEST_INSTALLED=1 $(AWS) $(BIN)/pytest -q tests/aws

test-fast: install
	@SMR_TEST_INSTALLED=1 SMR_TEST_EXAMPLES=20 $(BIN)/pytest -q -n auto tests/unit tests/checks

# A test that needs another one before it fails here.
test-random: install
	@seed=$(or $(SEED),$$(date +%s)); echo "SEED=$$seed"; \
		SMR_TEST_INSTALLED=1 $(BIN)/pytest -q --random-order-seed=$$seed $(HERE)

# In processes that are started too, but not in those that are forked or killed.
coverage: export COVERAGE_FILE := $(abspath build)/coverage/data
coverage: install
	@rm -rf build/coverage && mkdir -p build/coverage
	@SMR_TEST_INSTALLED=1 $(BIN)/coverage run -m pytest -q $(HERE)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage html -q -d build/coverage/pages
	@$(BIN)/coverage report --skip-covered

# OPTIONS="--seed 7 --trials 20 --verbose" and more: python -m smr_notebook.testing.chaos --help
chaos: install $(MINISTACK)
	@$(AWS) $(BIN)/python -m smr_notebook.testing.chaos $(OPTIONS)

# `make test` tries some hundred examples of each kind; this tries so many.
FUZZ ?= 5000
fuzz: install
	@SMR_TEST_INSTALLED=1 SMR_TEST_FUZZ=$(FUZZ) $(BIN)/pytest -q -o timeout=7200 tests/fuzz

# Whole jobs in simulated time; a tenth of a second each.
stories: install
	@SMR_TEST_INSTALLED=1 SMR_TEST_STORIES=$(or $(SEEDS),5000) $(BIN)/pytest -q tests/simulation/test_many_stories.py

# The tests of each mutant run against a copy of the package: MUTANT="words of its name" for one.
mutants: install
	@$(BIN)/python tests/mutants/run.py $(MUTANT)

# JupyterLab and Notebook 7 in a real browser, apart from all else: no kernel of another test sees their extensions. Pictures: build/browser/
ifeq ($(CHROMIUM),)
test-browser:
	@echo "no chromium here, so the browser tests are left out (apt-get install chromium)"
else
test-browser: $(BROWSER)/.installed
	@SMR_TEST_INSTALLED=1 $(BROWSER)/bin/pytest -q -rs -o timeout=900 tests/browser
endif

$(BROWSER)/.installed: build/.wheel constraints.txt constraints-browser.txt
	@rm -rf $(BROWSER) && $(PYTHON) -m venv $(BROWSER)
	@$(BROWSER)/bin/python -m pip --quiet --disable-pip-version-check install -c constraints.txt -c constraints-browser.txt \
		"$$(ls dist/*.whl)[notebook]" $(BROWSER_TOOLS)
	@touch $@

# Each version of ipykernel in an environment of its own.
test-kernels: $(patsubst %,test-kernel-%,$(KERNELS))

test-kernel-%: private BIN = build/kernels/$*/bin
test-kernel-%: build/kernels/%/.installed
	@echo "ipykernel $*"
	@SMR_TEST_INSTALLED=1 $(BIN)/pytest -q tests/notebook/test_kernels.py tests/notebook/test_live_panel.py
	@$(IN_WORKSPACE); $(NBVAL) --nbval-current-env notebooks/quickstart.ipynb

.PRECIOUS: build/kernels/%/.installed
build/kernels/%/.installed: build/.wheel constraints.txt
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	@grep -v '^ipykernel==' constraints.txt >$(@D)/constraints.txt
	@$(@D)/bin/python -m pip --quiet --disable-pip-version-check install -c $(@D)/constraints.txt \
		"$$(ls dist/*.whl)[notebook]" "ipykernel==$*.*" $(KERNEL_TOOLS)
	@touch $@

# The emulator pins its own botocore, so it lives apart.
$(MINISTACK): | $(VENV)/.tools
	@rm -rf build/ministack && $(PYTHON) -m venv build/ministack
	@build/ministack/bin/python -m pip --quiet --disable-pip-version-check install ministack==$(MINISTACK_VERSION)
	@touch $@

# On emulated AWS, and then on this machine: the outputs are the same.
test-aws-notebook: install $(MINISTACK)
	@$(IN_WORKSPACE); $(AWS) $(BIN)/python notebooks/on_emulator.py -- $(NBVAL) --nbval-current-env $(AWS_NOTEBOOK)
	@$(IN_WORKSPACE); SMR_PLATFORM=local $(NBVAL) --nbval-current-env $(AWS_NOTEBOOK)

aws-smoke: install
	@$(BIN)/python tests/aws/smoke.py

# The floor and this package on small inputs. OPTIONS="--workloads W1 --rounds 5" and more: benchmarks/run.py --help
bench-quick: install
	@$(BIN)/python benchmarks/run.py --quick $(OPTIONS)

# All of it, and the peers: more than an hour, on a machine that does nothing else.
bench: install bench-peers
	@$(BIN)/python benchmarks/run.py $(OPTIONS)

# Each in an environment of its own; one that cannot be installed is not run.
bench-peers: $(patsubst benchmarks/peers/%.txt,build/bench/peers/%/.installed,$(wildcard benchmarks/peers/*.txt))

build/bench/peers/%/.installed: benchmarks/peers/%.txt
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip --quiet --disable-pip-version-check install -r $< && touch $@ || \
		{ echo "bench: $* cannot be installed here, so it is not run"; rm -rf $(@D); }

# Where the time of a workload goes: make bench-profile W=W1 OPTIONS="--scale 0.2"
bench-profile: install build/bench/peers/py-spy/.installed
	@$(BIN)/python benchmarks/profiling.py "$(or $(W),W1)" $(OPTIONS)

# Each notebook twice: in the kernel that the wheel brings, and in a plain one.
test-notebooks: install
	@test -n "$(NOTEBOOKS)"
	@$(IN_WORKSPACE); $(NBVAL) --nbval-kernel-name smr-local $(NOTEBOOKS)
	@$(IN_WORKSPACE); $(NBVAL) --nbval-current-env $(NOTEBOOKS)

# A wrong option and a failing map must stop a notebook, at their cell and at no other: an error that CI cannot see is worse than none.
test-negative: install
	@test -n "$(NEGATIVE)"
	@$(IN_WORKSPACE); for notebook in $(NEGATIVE); do \
		$(BIN)/pytest -q -p no:cacheprovider --nbval-lax --nbval-current-env $$notebook >build/negative.log 2>&1; \
		grep -qE '^1 failed, [0-9]+ passed in' build/negative.log || \
			{ cat build/negative.log; echo "$$notebook: exactly one cell should fail"; exit 1; }; \
	done; echo "$(words $(NEGATIVE)) negative notebooks fail where they must"

# The wheel alone, in an empty environment without the notebook extra.
test-wheel: build/.wheel-tested

build/.wheel-tested: build/.wheel tests/checks/wheel.py constraints.txt
	@rm -rf build/bare && $(PYTHON) -m venv build/bare
	@build/bare/bin/python -m pip --quiet --disable-pip-version-check install --no-compile -c constraints.txt dist/*.whl
	@cd build && bare/bin/python -W error ../tests/checks/wheel.py ../dist/*.whl
	@rm -rf build/bare && touch $@

lint: install
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: install
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

wheel: build/.wheel

install: $(VENV)/.installed

# Tools first: they build the wheel.
$(VENV)/.tools: constraints.txt
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or later is needed; none of python3.11 … python3 is one. Name it: make PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt build setuptools
	@touch $@

# The sdist is made first and the wheel from it, so that nothing stale and nothing unlisted gets in.
build/.wheel: $(SOURCES) | $(VENV)/.tools
	@rm -rf dist build/sdist && mkdir -p build
	@$(BIN)/python -m build --no-isolation --outdir dist . >build/wheel.log 2>&1 || { cat build/wheel.log; exit 1; }
	@rm -rf smr_notebook.egg-info
	@touch $@

$(VENV)/.dependencies: setup.cfg pyproject.toml constraints.txt $(VENV)/.tools | build/.wheel
	@wheel=$$(ls dist/*.whl) && $(PIP) install -c constraints.txt "$$wheel[aws,notebook,test,dev,docs]"
	@touch $@

$(VENV)/.installed: build/.wheel $(VENV)/.dependencies
	@$(PIP) install --no-deps --force-reinstall dist/*.whl
	@touch $@

docs: install
	@$(BIN)/sphinx-build -q -W --keep-going -b html -c docs . build/site

# Renew every pinned version: what a fresh environment gets today, if it passes `make test`.
constraints: build/.wheel
	@rm -rf build/fresh && $(PYTHON) -m venv build/fresh
	@build/fresh/bin/python -m pip --quiet install "$$(ls dist/*.whl)[aws,notebook,test,dev,docs]"
	@echo '# The exact versions that `make` installs and CI tests with. Renewed by `make constraints`.' >constraints.txt
	@build/fresh/bin/python -m pip freeze --all --exclude smr_notebook --exclude pip >>constraints.txt
	@build/fresh/bin/python -m pip --quiet install -c constraints.txt $(BROWSER_TOOLS)
	@echo '# What the browser tests need besides constraints.txt, in an environment of their own. Renewed by `make constraints`.' >constraints-browser.txt
	@build/fresh/bin/python -m pip freeze --all --exclude smr_notebook --exclude pip | grep -vxFf constraints.txt >>constraints-browser.txt
	@rm -rf build/fresh

clean:
	@rm -rf $(VENV) build dist smr_notebook.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find smr_notebook tests notebooks benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
