# Two commands do everything on a fresh machine; both share one virtual environment.
#   make demo   sets up the core and analyses a real chest film with the built-in bundles
#   make test   sets up all extras and runs every check and test
PYTHON ?= python3
BIN := .venv/bin
FILM = $$($(BIN)/python -c "from pydicom.data import get_testdata_file as film; print(film('RG1_UNCR.dcm'))")

.PHONY: demo test lint format clean

demo: .venv/.core
	$(BIN)/hilum analyze "$(FILM)" --out out/demo
	@echo "Report: $(CURDIR)/out/demo/RG1_UNCR.html"

test: .venv/.all lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

format: .venv/.all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format src tests benchmarks

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

# pydicom-data carries the real film that the demo reads.
.venv/.core: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e . 'pydicom-data>=1.0.0'
	@touch $@

.venv/.all: .venv/.core
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[all]'
	@touch $@

clean:
	rm -rf .venv out
