# Two commands do everything on a fresh machine with Python 3.11: `make study` and `make test`.
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: study kaggle results test test-all lint clean help

help:
	@echo "make study     embedded faces -> base and v1 -> tables and pictures in results/synthetic (about 10 minutes)"
	@echo "make kaggle    the same on a Kaggle file: INPUT=path/to/training.zip (default: data/raw)"
	@echo "make test      ruff and pytest (under 10 minutes)"
	@echo "make test-all  the slow tests too"

# --retrain: to see it learn, the records that are committed do not count.
study: $(VENV)/study
	$(RUN) -m evaluation.study studies/synthetic.toml --retrain

# The study of real faces on a Kaggle file, and whatever of it is not done yet. Eight hours on 2 cores.
INPUT ?= data/raw
kaggle: $(VENV)/study
	$(RUN) -m evaluation.study studies/kaggle15.toml --input "$(INPUT)" --name kaggle

# Everything in results/ but the benchmark, from ../shared/data: what is there is not trained again. Some fourteen hours.
DATA ?= ../shared/data
results: $(VENV)/study
	$(RUN) -m evaluation.study studies/synthetic.toml
	$(RUN) -m evaluation.study studies/kaggle15.toml
	for name in youtube68 youtube68-published youtube68-224 youtube68-224-published kaggle15-ablation; do $(RUN) -m evaluation.study studies/$$name.toml || exit $$?; done
	for name in youtube68 youtube68-224; do $(RUN) -m evaluation.splits results/$$name results/$$name-published || exit $$?; done
	for name in kaggle15-none youtube68; do $(RUN) -m evaluation.leakage --data data/prepared/$$name || exit $$?; done
	$(RUN) -m evaluation.grouping --youtube68 $(DATA)/youtube68 --kaggle $(DATA)/kaggle15/training.zip
	for name in synthetic kaggle15 youtube68; do $(RUN) -m evaluation.report results/$$name || exit $$?; done

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

$(VENV)/dev: requirements-dev.txt requirements-cluster.txt requirements-export.txt requirements-demo.txt requirements-inference.txt $(VENV)/study
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) runs data/prepared
