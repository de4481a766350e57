"""The order of training faces, and what becomes of them on the way."""

import numpy as np

from models.backend import import_keras

import_keras()

from models.batches import Batches  # noqa: E402  (needs Keras' backend set up first)

IMAGES = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((10, 2, 2), np.uint8)
POINTS = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((10, 1, 2), np.float32)


def epoch(batches) -> list[int]:
    rows = [int(row) for index in range(len(batches)) for row in batches[index][0][:, 0, 0]]
    batches.on_epoch_end()
    return rows


def test_every_face_once_an_epoch_in_an_order_of_seed_and_epoch():
    batches = Batches(IMAGES, POINTS, 4, seed=1)
    assert [len(batches[index][0]) for index in range(len(batches))] == [4, 4, 2]
    first, second = epoch(batches), epoch(batches)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    again = Batches(IMAGES, POINTS, 4, seed=1)
    assert [epoch(again), epoch(again)] == [first, second]
    assert epoch(Batches(IMAGES, POINTS, 4, seed=2)) != first


def test_without_a_seed_rows_come_in_file_order():
    assert epoch(Batches(IMAGES, POINTS, 4)) == list(range(10))


def test_each_batch_is_augmented_by_a_seed_of_its_own():
    seeds = []

    def augment(images, keypoints, seed):
        seeds.append(seed)
        return 255 - images, keypoints + 1

    batches = Batches(IMAGES, POINTS, 4, seed=7, augment=augment)
    images, keypoints = batches[1]
    np.testing.assert_array_equal(255 - images[:, 0, 0] + 1.0, keypoints[:, 0, 0])
    np.testing.assert_array_equal(batches[1][0], images)  # a batch asked for twice is the same
    batches.on_epoch_end()
    batches[0]
    assert seeds == [(7, 0, 1), (7, 0, 1), (7, 1, 0)]
