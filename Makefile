# Two commands do everything on a fresh machine with Python 3.11: `make study` and `make test`.
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: study kaggle test test-all lint clean help

help:
	@echo "make study     embedded faces -> base and v1 -> tables and pictures in results/synthetic (about 10 minutes)"
	@echo "make kaggle    the same on a Kaggle file: INPUT=path/to/training.zip (default: data/raw)"
	@echo "make test      ruff and pytest (under 10 minutes)"
	@echo "make test-all  the slow tests too"

study: $(VENV)/study
	$(RUN) -m data_prep --source synthetic --missing none --output data/prepared/synthetic
	$(RUN) -m models.base --data data/prepared/synthetic --recipe quick
	$(RUN) -m models.v1 --data data/prepared/synthetic --recipe quick
	$(RUN) -m evaluation --runs runs/synthetic --output results/synthetic

# All of it on a Kaggle file: both recipes, both models. About an hour and a half on 2 cores.
INPUT ?= data/raw
kaggle: $(VENV)/study
	$(RUN) -m data_prep --source kaggle --input $(INPUT) --output data/prepared/kaggle
	for recipe in quick reference; do for model in base v1; do \
		$(RUN) -m models.$$model --data data/prepared/kaggle --recipe $$recipe || exit $$?; done; done
	$(RUN) -m evaluation --runs runs/kaggle --output results/kaggle

test: $(VENV)/dev lint
	$(RUN) -m pytest -m "not slow"

test-all: $(VENV)/dev lint
	$(RUN) -m pytest

lint: $(VENV)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

$(VENV)/study: requirements.txt constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/study
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) runs data/prepared
