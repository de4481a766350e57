"""The parts of models/dsnt.py that the conformance test over all networks does not see."""

import numpy as np
import pytest

from data_prep.faceset import DataError
from evaluation.flops import forward_flops
from models.backend import import_keras

keras = import_keras()

from models import dsnt, registry  # noqa: E402  (needs Keras' backend set up first)
from models.layers import cell_centres, centre_of_mass  # noqa: E402


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
