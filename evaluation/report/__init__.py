"""One page for one results folder, made from its tables and pictures: `python -m evaluation.report`."""
