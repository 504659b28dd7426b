# Two commands are all a newcomer needs: "make book" and "make test". Both set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PINNED := $(VENV)/.pinned
READY := $(VENV)/.ready
# Whether setting up also gets a pretrained language model (93 MB): "make book MODEL=no" does not.
MODEL ?= yes

.PHONY: environment help book test notebooks bench results record clean

help:
	@echo "make book       execute the chapters and render the book"
	@echo "make test       everything CI runs"
	@echo "make notebooks  open the chapters in JupyterLab, in a folder of your own"
	@echo "make bench      speed and memory"
	@echo "make results    train the stored runs that are missing; hours, and it can be interrupted"
	@echo "make record     make the present numbers the references of the tests, showing what changed"
	@echo "make clean      remove what was built, and the environment"

# One process at a time makes the environment; another waits for it, and then looks anew what is to do.
ALONE := import fcntl, subprocess, sys; held = open("Makefile"); fcntl.flock(held, fcntl.LOCK_EX); sys.exit(subprocess.call(sys.argv[1:]))
environment:
	@$(PYTHON) -c '$(ALONE)' $(MAKE) --silent --no-print-directory $(READY)

# The environment is made anew whenever the lock changes.
$(PINNED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version)'
	@echo "making the environment in $(VENV) ..."
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

# Without a model the book is made all the same, so this goes on, after a line that says why there is none.
$(READY): $(PINNED) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@[ "$(MODEL)" = no ] || $(BIN)/actde-nb model >/dev/null || true
	@touch $@

book: environment
	@$(BIN)/actde-nb build $(FLAGS)

# Two workers fill two cores; more threads in each would wait for one another.
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: environment
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

notebooks: environment
	@$(BIN)/actde-nb notebooks
	@$(BIN)/jupyter lab notebooks

bench: environment
	@for script in benchmarks/*.py; do $(BIN)/python $$script; done

results: environment
	@$(BIN)/actde-nb results train

record: environment
	@$(BIN)/actde-nb record --scale smoke
	@$(BIN)/actde-nb record --scale reader

clean:
	rm -rf _build $(VENV)
