"""Read faces with keypoints from any source, check them, split them, fill what is missing, write arrays.

`schema` and `faceset` hold the contract that every other part of the study speaks.
Nothing in this package imports TensorFlow or Keras.
"""
