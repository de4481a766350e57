"""Batches for training, as NumPy arrays, so that any Keras backend takes them."""

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Images uint8 [B, H, W] and labels float32 [B, K, 2] in pixels, in a new order each epoch.

    The order depends on the seed and the epoch alone, as long as `fit` is told `shuffle=False` (else Keras
    shuffles the batches too). Without a seed rows come in file order.

    augment: `(images, keypoints, seed) -> (images, keypoints)` of the same shapes and types, which every batch passes
    through, such as a `data_prep.augment.Pipeline`; a batch is changed anew each epoch, and always in the same way.
    """

    def __init__(self, images, keypoints, batch_size: int, seed: int | None = None, augment=None):
        super().__init__()
        self.images = np.array(images)  # a copy in memory: random access to the mapped file may be slow
        self.keypoints = np.array(keypoints)
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.epoch = 0
        self._shuffle()

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index: int):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images, keypoints = self.images[rows], self.keypoints[rows]
        return self.augment(images, keypoints, (self.seed, self.epoch, index)) if self.augment else (images, keypoints)

    def on_epoch_end(self) -> None:
        self.start_at(self.epoch + 1)

    def start_at(self, epoch: int) -> None:
        """Make the next batches those of this epoch, 0 being the first."""
        self.epoch = epoch
        self._shuffle()

    def _shuffle(self) -> None:
        self.order = np.arange(len(self.images))
        if self.seed is not None:
            np.random.default_rng([self.seed, self.epoch]).shuffle(self.order)
