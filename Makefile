# `make demo` and `make test` set up everything they need in .venv; PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= patchfree-demo

# Many containers forbid Python to keep what it compiles: then each process of a test compiles torch and dask anew, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-slow test-gpu check format bench speed docs clean

install: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[dev]"
	touch $@

demo: install
	$(BIN)/patchfree demo --out $(OUT) $(ARGS)

# Two at a time, each file in one process: most tests compute little, and wait.
test: install
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

test-slow: install
	$(BIN)/pytest -m slow $(ARGS)

test-gpu: install
	$(BIN)/pytest -m gpu $(ARGS)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Ends within 30 minutes on two cores: what was not done by then, the next call goes on with. docs/comparing.md has the full table's command.
bench: install
	$(BIN)/patchfree benchmark --out patchfree-benchmark --seeds 3 --minutes 28 $(ARGS)

speed: install
	$(BIN)/python benchmarks/speed.py

docs: install
	$(BIN)/python docs/generate.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
