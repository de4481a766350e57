"""Score finished runs: tables first, then pictures. Reads runs only through `models.runs.read_run`.

`metrics` holds the formulas, `collect` finds runs and checks that they belong in one table, `entries` brings
runs and the mean face into one form, `tables` and `plots` turn entries into rows and figures.
Nothing in that imports TensorFlow or Keras, and nothing is trained. `benchmark` stands apart: it times networks,
each in a worker process of its own.
"""
