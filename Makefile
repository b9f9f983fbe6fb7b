# Two commands do everything: `make demo` and `make test`. Neither needs a terminal; the second run of each is quick.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

# The system's own Python first: one that was built by hand, as by pyenv, often takes half as long again.
ABLE = import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for one in /usr/bin/python3 python3; do \
  "$$one" -c '$(ABLE)' 2>/dev/null && echo "$$one" && exit; done; echo python3)
VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) tools/install.py
READY := $(VENV)/.ready
DEPTRY := $(VENV)/bin/deptry --no-ansi
# Versions of ipykernel that hear a page at other times than the newest does: one notebook of the tests runs on each.
KERNELS := $(addprefix $(VENV)/kernels/ipykernel-,6.30.1 7.3.0)

# The machine's own Nix, as far as we use it: practice systems are built by the machine's /bin/sh, which a sandbox would
# hide, and come from no cache; what it notes of each need not be on the disk at once. Nothing is written to the machine's
# nix.conf, and practice hosts have their own.
define PRACTICE_NIX
$(NIX_CONFIG)
sandbox = false
substituters =
fsync-metadata = false
endef
export NIX_CONFIG := $(PRACTICE_NIX)

# The tests start hundreds of programs of ours, which need not be compiled each time.
unexport PYTHONDONTWRITEBYTECODE

ifdef NIXHIVE_TEST_WITHOUT_FLEET
NEEDED := nix
SELECTED := -m "not fleet"
else
NEEDED := fleet
# Tests run in a network, with mounts and with processes of their own.
APART := tools/apart
endif

# Make ends its shell alone when it is ended.
WITH_MAKE := setpriv --pdeathsig TERM

# How many tests run at a time: most of them wait for a host or for a page. With TESTS=… one after the other.
WORKERS ?= $(if $(TESTS),0,6)
PYTEST = $(WITH_MAKE) $(APART) --in-memory $(PY) -m pytest -n $(WORKERS) --durations=20 --durations-min=1
# Tests of Nix, of OpenSSH and of waiting try no library of ours, and examples need be no more than a few there.
LOWEST = -n $(WORKERS) -m "not fleet and not ui and not slow and not waits and (not nix or fabric)"
FAST = -n $(if $(TESTS),0,4) -m "not fleet and not ui and not slow and not nix and not waits"

# What root makes in the checkout goes to the checkout's owner, who could not change or remove it otherwise.
GIVE_BACK = if [ "$$(id -u)" = 0 ]; then find . -xdev -user 0 -exec chown -h --reference=Makefile {} +; fi

# Whether .venv was made here, and whole. One that was moved, or whose Python is gone, is made anew.
CURRENT := $(shell [ -x $(PY) ] && [ "$$(cat $(READY) 2>/dev/null)" = "$(CURDIR)" ] && echo yes)

.PHONY: help
help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: root system setup ## Deploy example/ to a practice fleet from a notebook (needs root)
	@status=0; $(WITH_MAKE) $(PY) tools/demo.py || status=$$?; $(GIVE_BACK); exit $$status

.PHONY: test
test: $(if $(NIXHIVE_TEST_WITHOUT_FLEET),,root) system browser shells lint $(KERNELS) $(if $(NIXHIVE_TEST_WITHOUT_FLEET),,debians) ## Check and test everything, on real practice fleets (needs root)
ifndef NIXHIVE_TEST_WITHOUT_FLEET
	@$(PY) tools/demo.py --check
endif
	@mkdir -p build; rm -rf build/failed build/failures.txt; status=0; \
	$(PYTEST) --junitxml=build/tests.xml $(SELECTED) $(TESTS) </dev/null || status=$$?; $(GIVE_BACK); exit $$status
ifdef NIXHIVE_TEST_WITHOUT_FLEET
	@echo "The tests on practice fleets were left out (NIXHIVE_TEST_WITHOUT_FLEET). To run them: sudo make test"
endif

.PHONY: test-fast
test-fast: setup ## Only the quick tests, for the hand: no practice fleet, no browser, no server, under a minute
	@NIXHIVE_TEST_FAST=1 $(WITH_MAKE) $(PY) -m pytest $(FAST) $(TESTS) </dev/null

.PHONY: test-lowest
test-lowest: setup ## The tests of what uses a library, on Python 3.11, with every dependency at its floor
	@mkdir -p build; status=0; \
	NIXHIVE_TEST_FAST=1 $(WITH_MAKE) $(PY) tools/lowest.py -m pytest -p no:cacheprovider --junitxml=build/tests-lowest.xml $(LOWEST) $(TESTS) </dev/null \
	|| status=$$?; $(GIVE_BACK); exit $$status

.PHONY: test-nix
test-nix: root ## The tests that touch Nix and OpenSSH, on a newer Debian beside this system's own (needs root)
	@mkdir -p build; status=0; \
	$(WITH_MAKE) tools/debian-root run /venv/bin/python -m pytest -n $(WORKERS) --durations=20 --durations-min=1 -p no:cacheprovider \
	  --junitxml=build/tests-nix.xml -m "(fleet or nix) and not ui" $(TESTS) </dev/null || status=$$?; \
	$(GIVE_BACK); exit $$status

# Side by side, the longest first; what one says is shown when it fails. Tests that are collected are compiled, which
# each worker of `make test` would do by itself.
define LINTS
"$(PY) -m mypy --no-error-summary" \
"$(WITH_MAKE) $(PY) -m pytest --collect-only -qq -p no:cacheprovider" \
"$(PY) -m ruff check --quiet" \
"$(PY) -m ruff format --check --diff --quiet" \
"$(VENV)/bin/lint-imports --no-logo" \
"$(DEPTRY) nixhive_nb" \
"$(DEPTRY) tests tools benchmarks docs --ignore DEP002,DEP004" \
"$(VENV)/bin/vulture"
endef

.PHONY: lint
lint: setup ## Check the style, the types, who imports whom, what is declared and what is dead
	@printf '%s\n' $(LINTS) | xargs -d '\n' -n 1 -P 2 sh -c 'said=$$($$0 2>&1) || { echo "$$0: $$said"; exit 1; }' || exit 1
	@$(GIVE_BACK)

.PHONY: measures
measures: root setup ## Count the files, lines and hops of the code, before and now, into docs/architecture.md (needs root)
	@$(WITH_MAKE) tools/apart $(PY) tools/measures.py --write $(TREES) </dev/null; status=$$?; $(GIVE_BACK); exit $$status

# Rows of the table by name, and how much of everything; by default all, and what each row has.
ROWS ?=
BENCH = $(if $(HOSTS),--hosts $(HOSTS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SIZE),--size $(SIZE)) $(ROWS)

.PHONY: bench
bench: root system setup ## Measure us beside other ways, into docs/performance.md: ROWS, HOSTS, ROUNDS, SIZE (needs root)
	@peers=$$($(PY) -m benchmarks.peers) && status=0; \
	$(WITH_MAKE) tools/apart $(PY) -m benchmarks --peers "$$peers" $(BENCH) </dev/null || status=$$?; $(GIVE_BACK); exit $$status

.PHONY: soak
soak: root system setup ## Work on 200 practice hosts behind 5 relays, some down, some slow: does anything grow? HOSTS (needs root)
	@status=0; $(WITH_MAKE) tools/apart $(PY) -m benchmarks.soak $(if $(HOSTS),--hosts $(HOSTS)) </dev/null || status=$$?; $(GIVE_BACK); exit $$status

.PHONY: setup
setup: $(READY) ## Make .venv with everything that Python needs
	@:

.PHONY: system
system: ## Look for the system's programs; install what is missing (as root), or say how
	@PYTHON=$(PYTHON) tools/system-packages venv $(NEEDED)

.PHONY: browser
browser: ## Look for Chromium's headless shell, which the tests open JupyterLab in; install it if it is missing (as root)
	@tools/system-packages browser

.PHONY: shells
shells: ## Look for what only the tests need: login shells other than bash, doas, jq, Git; install what is missing (as root)
	@tools/system-packages shells git

.PHONY: debians
debians: setup ## Make what practice hosts with systemd are made of, which is kept below /var/cache; install what that needs
	@tools/system-packages systemd
	@$(PY) tools/practice_debians.py

.PHONY: docs
docs: setup ## Make the documentation site: build/docs/index.html
	@$(PY) -m sphinx --fail-on-warning --quiet -b html docs build/docs && echo build/docs/index.html; status=$$?; $(GIVE_BACK); exit $$status

.PHONY: clean
clean: ## Remove .venv, caches and build/
	@rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/kernels/ipykernel-%: | $(READY)
	@rm -rf $@.part
	@$(INSTALL) --no-deps --target $@.part 'ipykernel==$*'
	@mv $@.part $@
	@$(GIVE_BACK)

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { \
	echo "make $(MAKECMDGOALS): a practice fleet needs root, for its network namespaces and mounts. Run: sudo make $(MAKECMDGOALS)" >&2; \
	case "$(MAKECMDGOALS)" in *test*) \
	echo "Without the tests that need one: NIXHIVE_TEST_WITHOUT_FLEET=1 make test" >&2;; esac; exit 1; }

$(READY): pyproject.toml $(if $(CURRENT),,anew)
	@PYTHON=$(PYTHON) tools/system-packages venv
	@echo "Setting up $(VENV)"
	@rm -f $@
	@[ -n "$(CURRENT)" ] || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@$(INSTALL) --editable '.[dev]'
# Whoever reads a notebook loads this package, where it is, for checks of URLs that no notebook has: two seconds each.
	@$(PY) -m pip --disable-pip-version-check uninstall --quiet --yes rfc3987-syntax
	@echo "$(CURDIR)" >$@
	@$(GIVE_BACK)

.PHONY: anew
anew:
