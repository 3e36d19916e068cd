# Nothing but Python 3.11 to 3.13 and make is needed; all else goes into .venv.
PYTHON ?= python3
RUN ?= runs/digits
PYTEST_ARGS ?= -n logical --maxprocesses 4 --dist worksteal

BIN := .venv/bin
# The environment of a target such as .venv/installed. Not compiling all of TensorFlow to
# bytecode saves most of a minute of installing.
PIP_INSTALL = $(@D)/bin/python -m pip install -qq --disable-pip-version-check --no-compile
UV_INSTALL = $(@D)/bin/uv pip install --quiet --python $(@D)/bin/python
# uv installs in seconds what takes pip minutes. It does not read pip's configuration:
# where it finds no packages, pip installs.
install = $(PIP_INSTALL) uv==0.13.9 && $(UV_INSTALL) $(1) || $(PIP_INSTALL) $(1)
BENCHMARKS := training_step first_step sampling
LONG_BENCHMARKS := memory_against_depth cost_against_work
# With a path, not a hook: the checkout has the package's name, and beside it Python would
# take the checkout for the package.
EDITABLE := -c constraints.txt --config-settings editable_mode=compat -e
measure = for name in $(1); do \
	  .venv-benchmarks/bin/python benchmarks/$$name.py --write || exit 1; \
	done
DEPENDENCIES := setup.py constraints.txt tfp_glow/version.py

# Where it is set, every process compiles all of TensorFlow again: 10 to 20 seconds.
unexport PYTHONDONTWRITEBYTECODE

TF_CPP_MIN_LOG_LEVEL ?= 2
export TF_CPP_MIN_LOG_LEVEL

.PHONY: help quickstart test test-ray benchmarks long-benchmarks reference constraints clean

help: ## Show this help
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile

quickstart: .venv/installed ## Train on scikit-learn's digits; leaves the run in runs/digits
	@if [ -e "$(RUN)/state.npz" ]; then \
	  set -- --resume "$(RUN)"; \
	elif [ -e "$(RUN)/metrics.json" ]; then \
	  echo "$(RUN) is there already: nothing to do. To train again: rm -r $(RUN)"; \
	  exit; \
	else \
	  set -- --dataset digits --preset digits --output "$(RUN)"; \
	fi; \
	(set -x; $(BIN)/tfp-glow train "$$@") && \
	echo "So that tfp-glow is found: . .venv/bin/activate"

test: .venv/installed-dev ## Lint, check the format, run the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# Ray is large, so developers have it only if they ask; without it `test` skips these.
test-ray: .venv/installed-ray ## Run the tests of `--strategy ray`, after installing Ray
	$(BIN)/python -m pytest tests/cli/test_ray.py

# Without what developers need besides, some of which TensorFlow imports if it is there.
benchmarks: .venv-benchmarks/installed ## Measure speed anew, in 9 to 15 minutes
	$(call measure,$(BENCHMARKS))

long-benchmarks: .venv-benchmarks/installed ## Measure how memory and time grow
	$(call measure,$(LONG_BENCHMARKS))

reference: .venv/installed-dev ## Make the reference of the docstrings in build/reference
	$(BIN)/sphinx-build --quiet --fail-on-warning docs/reference build/reference
	@echo "Open build/reference/index.html"

constraints: ## Write constraints.txt anew from setup.py (with PYTHON=python3.11)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "Needs the oldest Python: make constraints PYTHON=python3.11" >&2; exit 1; }
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install -qq -e '.[dev]'
	{ grep '^#' constraints.txt; build/constraints/bin/python -m pip freeze \
	  --all --exclude pip --exclude tfp-glow; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean: ## Remove the environment, builds and caches, but no runs
	rm -rf .venv .venv-benchmarks build dist *.egg-info .pytest_cache .ruff_cache
	find tfp_glow tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# Empty files in an environment record what is installed.
.venv/created .venv-benchmarks/created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed, but $(PYTHON) is:" \
	    "$$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module (on Debian and Ubuntu: apt install" \
	    "python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(@D)
	@touch $@

.venv/installed: .venv/created $(DEPENDENCIES)
	@echo "Installing tfp_glow into .venv: TensorFlow is large, this may take minutes."
	$(call install,$(EDITABLE) .)
	@touch $@

.venv/installed-dev: .venv/created $(DEPENDENCIES)
	@echo "Installing tfp_glow into .venv: TensorFlow is large, this may take minutes."
	$(call install,$(EDITABLE) '.[dev]')
	@touch .venv/installed $@

.venv/installed-ray: .venv/installed-dev
	$(call install,$(EDITABLE) '.[ray]')
	@touch $@

# By pip alone, whose configuration may name an index of PyTorch without CUDA.
.venv-benchmarks/installed: .venv-benchmarks/created $(DEPENDENCIES)
	@echo "Installing tfp_glow and PyTorch into $(@D): gigabytes, this takes minutes."
	$(PIP_INSTALL) $(EDITABLE) '.[benchmarks]'
	@touch $@
