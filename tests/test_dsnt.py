"""The parts of models/dsnt.py that the conformance test over all networks does not see."""

import math

import numpy as np
import pytest

from data_prep.faceset import DataError
from evaluation.flops import forward_flops
from models.backend import import_keras

keras = import_keras()

from models import dsnt, registry, trainer  # noqa: E402  (needs Keras' backend set up first)
from models.apply import load_network  # noqa: E402
from models.fitting import with_shape  # noqa: E402
from models.layers import cell_centres, centre_of_mass, gray_input, with_maps  # noqa: E402
from models.losses import masked_l1  # noqa: E402
from models.runs import read_run  # noqa: E402


def test_cell_centres_by_hand():
    # 4x8 pixels reach from -0.5 to 3.5 and to 7.5; two cells each way are 2 high and 4 wide.
    assert cell_centres((2, 2), (4, 8)).tolist() == [[1.5, 0.5], [5.5, 0.5], [1.5, 2.5], [5.5, 2.5]]
    assert cell_centres((3, 3), (3, 3))[5].tolist() == [2, 1]  # a cell of one pixel has the pixel's place


def test_centre_of_mass_by_hand():
    maps = keras.Input((2, 2, 2))
    network = keras.Model(maps, centre_of_mass(maps, (4, 8)))
    values = np.zeros((1, 2, 2, 2), np.float32)
    values[0, 1, 0, 0] = np.log(5)  # first map: shares 1, 1 / 5, 1 of 8, at the cells above
    found = np.asarray(network(values))[0]
    # x = (1.5 + 5.5 + 5 * 1.5 + 5.5) / 8, y = (0.5 + 0.5 + 5 * 2.5 + 2.5) / 8; the second map is even: the centre.
    np.testing.assert_allclose(found, [[20 / 8, 16 / 8], [3.5, 1.5]], atol=1e-6)


def test_a_bright_spot_pulls_its_point_wherever_it_is():
    maps = keras.Input((24, 24, 1))
    network = keras.Model(maps, centre_of_mass(maps, (96, 96)))
    values = np.zeros((1, 24, 24, 1), np.float32)
    values[0, 3, 20] = 50
    np.testing.assert_allclose(np.asarray(network(values))[0, 0], [81.5, 13.5], atol=1e-3)  # 4 * 20 + 1.5, 4 * 3 + 1.5


@pytest.mark.parametrize(
    ("size", "parameters", "mflop"), [("best", 1_000_000, 200), ("small", 300_000, 55), ("tiny", 100_000, 15)]
)
def test_sizes_keep_their_budgets(size, parameters, mflop):
    network = registry.get_network("dsnt", size=size).build((96, 96), np.full((17, 2), 48.0))
    assert network.count_params() <= parameters
    assert forward_flops(network) <= mflop * 1e6
    row = f"| {size} | {network.count_params() / 1e6:.2f} million | {forward_flops(network) / 1e6:.0f} |"
    assert row in dsnt.__doc__


def test_bad_options_are_named():
    with pytest.raises(DataError, match="--size is 'huge'; accepted: best, small, tiny"):
        registry.get_network("dsnt", size="huge")
    with pytest.raises(DataError, match="multiples of 16, not 100x96"):
        dsnt.build((100, 96), np.full((15, 2), 48.0))


# --- training its maps


def two_by_two():
    """A network of maps of 2x2 cells for one point on images of 4x4, even at first."""
    images, x = gray_input((4, 4))
    x = keras.layers.AveragePooling2D(2)(x)
    maps = keras.layers.Conv2D(1, 1, kernel_initializer="zeros", dtype="float32", name="maps")(x)
    return keras.Model(images, centre_of_mass(maps, (4, 4)), name="toy")


def test_the_maps_follow_their_points():
    network = two_by_two()
    trained, places, cell = with_maps(network)
    assert cell == 2
    assert places.tolist() == [[0.5, 0.5], [2.5, 0.5], [0.5, 2.5], [2.5, 2.5]]
    found = np.asarray(trained(np.zeros((3, 4, 4), np.uint8)))
    np.testing.assert_allclose(found, np.broadcast_to([1.5, 1.5, 0.25, 0.25, 0.25, 0.25], (3, 1, 6)), atol=1e-6)
    assert with_maps(registry.get_builder("lenet5")((96, 96), np.full((15, 2), 48.0))) is None


def test_the_shape_of_maps_counts_by_its_weight():
    """A label in the middle of an even map: nothing is off but the shape, whose Gaussian is even here, too; elsewhere
    the error in pixels and the divergence add up."""
    trained, loss = with_shape(two_by_two(), masked_l1, 3.0)
    output = np.asarray(trained(np.zeros((1, 4, 4), np.uint8)))
    assert float(loss(np.array([[[1.5, 1.5]]], np.float32), output)) == pytest.approx(0, abs=1e-6)
    # At (0.5, 0.5), a cell's centre: weights 1, e^-1/2, e^-1/2, e^-1 with a sigma of a cell, 2 px.
    share = 1 / (1 + math.exp(-0.5)) ** 2
    gaussian = np.array([share, share * math.exp(-0.5), share * math.exp(-0.5), share * math.exp(-1)])
    mean = (gaussian + 0.25) / 2
    divergence = ((gaussian * np.log(gaussian / mean)).sum() + (0.25 * np.log(0.25 / mean)).sum()) / 2
    assert float(loss(np.array([[[0.5, 0.5]]], np.float32), output)) == pytest.approx(1 + 3 * divergence, rel=1e-5)


def test_a_network_without_maps_has_no_shape():
    base = registry.get_builder("base")((96, 96), np.full((15, 2), 48.0))
    with pytest.raises(DataError, match="base draws no maps whose shape could count; --shape-weight 0 leaves that out"):
        with_shape(base, masked_l1, 1.0)


def test_a_run_by_the_best_recipe_leaves_a_network_of_points(data, tmp_path):
    words = ["--data", str(data), "--recipe", "best", "--size", "tiny", "--epochs", "1"]
    assert trainer.main("dsnt", [*words, "--output", str(tmp_path / "run")]) == 0
    run = read_run(tmp_path / "run")
    assert (run.config["recipe"]["optimizer"], run.config["recipe"]["shape_weight"]) == ("muon", 1.0)
    assert keras.saving.load_model(tmp_path / "run" / "model.keras").output_shape == (None, 17, 2)
    # What is saved is what was trained: it predicts what its record says.
    found = np.asarray(load_network(tmp_path / "run" / "model.keras")(np.load(data / "test_images.npy")))
    first = run.test.sources == 1
    np.testing.assert_allclose(found[first, :15], run.test.predicted[first], atol=0.1)
