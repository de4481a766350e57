"""The networks, one file each, and what trains them: recipes, losses, batches, run folders.

Everything here is backend-agnostic Keras 3 (TensorFlow or JAX). Networks take gray images in 0-255 and
return keypoints in pixels: scaling happens inside them and nowhere else.
"""
