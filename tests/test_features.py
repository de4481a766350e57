"""`python -m evaluation.features`: which maps are shown, on networks small enough to follow, and where they go."""

import matplotlib.image
import numpy as np
import pytest

from data_prep import prepared
from data_prep.faceset import observed
from data_prep.schema import KAGGLE15
from evaluation import features
from models import registry
from models.backend import import_keras
from models.runs import Predictions, write_record

keras = import_keras()
layers = keras.layers
FACE = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)

# Height and number of the maps of each stage, by hand from the files under models/. vgg_face at a quarter of its
# width; efficientnet_b0: the expanded maps before each convolution of stride 2, as Keras' own summary lists them.
STAGES = {
    "base": [(48, 16), (24, 32), (12, 64)],
    "v1": [(48, 16), (24, 32), (12, 64), (6, 128), (6, 128)],
    "lenet5": [(46, 6), (21, 16)],  # (96 - 4) / 2 and (46 - 4) / 2
    "naimishnet": [(46, 32), (22, 64), (10, 128), (5, 256)],  # kernels 4, 3, 2, 1; halves are cut off
    "net2": [(46, 4), (22, 64), (10, 128), (4, 256)],  # kernels 5, 3, 3, 3
    "vgg_face": [(48, 16), (24, 32), (12, 64), (6, 128), (3, 128)],
    "efficientnet_b0": [(48, 96), (24, 144), (12, 240), (6, 672), (3, 1280)],
    "dsnt": [(48, 20), (24, 40), (12, 80), (24, 15)],  # the last are the points' maps
}
FILTERS = {  # height
    **{"base": 3, "v1": 3, "lenet5": 5, "naimishnet": 4, "net2": 5, "vgg_face": 3, "efficientnet_b0": 3},
    "dsnt": 5,
}


def build(name, points=15):
    return registry.get_builder(name)((96, 96), np.full((points, 2), 48.0))


@pytest.mark.parametrize("name", registry.NAMES)
def test_stages_and_filters_of_every_network(name):
    network = build(name)
    stages = features.map_stages(network, FACE)
    assert [(stage.maps.shape[1], len(stage.maps)) for stage in stages] == STAGES[name]
    for stage in stages:
        assert stage.maps.dtype == np.float32
        assert (np.diff(stage.maps.var(axis=(1, 2), dtype=np.float64)) <= 0).all()
    (filters,) = features.first_filters(network)
    assert filters.kernels.shape[1:] == (FILTERS[name], FILTERS[name])


def test_networks_inside_networks_are_walked_into():
    """As `models.specialist` merges two: each on the images, their points put together; and one level deeper."""
    images, inner = keras.Input((96, 96)), keras.Input((96, 96))
    deeper = keras.Model(inner, build("base", 11)(inner), name="deeper")
    network = keras.Model(images, layers.Concatenate(axis=1)([build("lenet5", 4)(images), deeper(images)]))
    stages = features.map_stages(network, FACE)
    assert [(stage.maps.shape[1], len(stage.maps)) for stage in stages] == STAGES["lenet5"] + STAGES["base"]
    pools = ["lenet5/pool1", "lenet5/pool2", "deeper/base/pool1", "deeper/base/pool2", "deeper/base/pool3"]
    assert [stage.name for stage in stages] == pools
    assert [filters.name for filters in features.first_filters(network)] == ["lenet5/conv1", "deeper/base/conv1"]
    alone = features.map_stages(network.get_layer("lenet5"), FACE)
    np.testing.assert_array_equal(stages[0].maps, alone[0].maps)


def toy():
    """A 1x1 convolution to three maps, times 0, 1 and 3, then 2x2 means; then a 1x1 convolution times 1, 1 and 1."""
    images = keras.Input((4, 4))
    x = layers.Reshape((4, 4, 1))(images)
    first, second = layers.Conv2D(3, 1, name="first"), layers.Conv2D(1, 1, name="second")
    x = second(layers.AveragePooling2D(2, name="pool")(first(x)))
    network = keras.Model(images, layers.Flatten()(x))
    first.set_weights([np.array([0, 1, 3], np.float32).reshape(1, 1, 1, 3), np.zeros(3)])
    second.set_weights([np.ones((1, 1, 3, 1), np.float32), np.zeros(1)])
    return network


def test_values_of_maps_by_hand():
    image = np.array([[1, 3, 0, 0], [1, 3, 0, 0], [8, 8, 4, 4], [8, 8, 4, 4]], dtype=np.uint8)
    means = np.array([[2, 0], [8, 4]])  # of its quarters
    pool, second = features.map_stages(toy(), image)
    assert (pool.name, second.name) == ("pool", "second")
    np.testing.assert_array_equal(pool.maps, [3 * means, means, 0 * means])  # the most varied first
    assert pool.constant == 1
    np.testing.assert_array_equal(second.maps, [4 * means])


def test_a_convolution_that_shrinks_ends_the_stage_before_it():
    images = keras.Input((8, 8))
    x = layers.Conv2D(2, 3, padding="same", name="even")(layers.Reshape((8, 8, 1))(images))
    x = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(3, 3, strides=2, name="strided")(layers.ZeroPadding2D(1)(x))
    network = keras.Model(images, layers.GlobalAveragePooling2D()(x))
    stages = features.map_stages(network, FACE[:8, :8])
    assert [(stage.name, stage.maps.shape) for stage in stages] == [("relu", (2, 8, 8)), ("strided", (3, 4, 4))]


def test_filters_are_summed_over_channels_and_gray_is_zero():
    kernels = np.arange(6, dtype=np.float32).reshape(1, 1, 3, 2) - 4  # channels [-4, -3], [-2, -1], [0, 1]
    images = keras.Input((4, 4, 3))
    conv = layers.Conv2D(2, 1, name="colours")
    network = keras.Model(images, layers.Flatten()(conv(images)))
    conv.set_weights([kernels, np.zeros(2)])
    (filters,) = features.first_filters(network)
    assert filters.kernels.tolist() == [[[-6.0]], [[-3.0]]]
    (picture,) = features.filter_figure([filters], "toy").axes[0].images
    assert picture.get_clim() == (-6, 6)


def test_a_picture_shows_the_most_varied_maps_alone():
    maps = np.random.default_rng(0).normal(size=(40, 3, 3)).astype(np.float32)
    figure = features.map_figure([features.Stage("pool1", maps)], FACE, "toy")
    assert figure.axes[1].get_title(loc="left").startswith("pool1: 16 of 40 maps of 3x3, ")
    # two rows of eight tiles of 96 pixels (each map pixel 32 of them), 4 pixels apart
    assert figure.axes[1].images[0].get_array().shape == (2 * 96 + 4, 8 * 96 + 7 * 4)


# --- the command


def make_data(folder, kind="synthetic", size=96):
    """Six faces, two to a split, with ids 0 to 5; the second face of each split alone has all points."""

    def split(first):
        keypoints = np.full((2, 15, 2), 40, np.float32)
        keypoints[0, 3] = np.nan
        rows = np.arange(first, first + 2)
        images = np.full((2, size, size), 20, np.uint8) + rows[:, None, None].astype(np.uint8)
        return prepared.Split(images, keypoints, keypoints, observed(keypoints), rows, rows, np.ones(2, int))

    splits = {"train": split(0), "val": split(2), "test": split(4)}
    manifest = {"name": folder.name, "schema": {"name": KAGGLE15.name}, "source": {"kind": kind}}
    prepared.write(folder, splits, manifest)
    return folder


def make_run(folder, network=None, **changes):
    folder.mkdir(parents=True)
    if network:
        network.save(folder / "model.keras")
    empty = Predictions(*(np.zeros(0, int),) * 3, *(np.zeros((0, 15, 2), np.float32),) * 2, np.zeros((0, 15), bool))
    config = {"run": folder.name, "data": "toy", "data_folder": "toy", "schema": "kaggle15", "image_size": [96, 96]}
    config |= {"model": "toy", "recipe": {"name": "quick"}, "treatment": "none", "seed": 0}
    config |= {"mean_face": [[48.0, 48.0]] * 15}
    write_record(folder, config | changes, dict.fromkeys(("epoch", "loss", "val_loss"), [1.0]), val=empty, test=empty)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_data(tmp_path / "toy")
    make_data(tmp_path / "real", "kaggle")
    make_run(tmp_path / "run", build("lenet5"))
    return tmp_path


def test_pictures_go_where_git_may_see_them_or_not(here, capsys):
    assert features.main(["--run", "run"]) == 0
    said = capsys.readouterr().out
    assert "pool2                           21 x 21     16 maps" in said
    assert "results/toy/features/run/: filters.png, maps.png" in said
    for name in ("filters.png", "maps.png"):
        assert matplotlib.image.imread(here / "results/toy/features/run" / name).shape[1] == 800
    assert features.main(["--run", "run", "--data", "real"]) == 0
    assert (here / "results/toy/faces/features/run/maps.png").is_file()  # a face that is not the project's own
    assert {path.name for path in (here / "results/toy").iterdir()} == {"features", "faces"}
    assert features.main(["--run", "run", "--output", "mine"]) == 0
    assert {path.name for path in (here / "mine").iterdir()} == {"filters.png", "maps.png"}


def test_a_real_face_is_not_written_where_git_would_see_it(here, monkeypatch, capsys):
    monkeypatch.setattr(prepared, "PROJECT", here)
    real = ["--run", "run", "--data", "real", "--output"]
    assert features.main([*real, "results/toy/features/run"]) == 2
    assert "--output results/toy/features/run would show real faces" in capsys.readouterr().err
    assert not (here / "results").exists()
    assert features.main([*real, "results/toy/faces/mine"]) == 0
    assert (here / "results/toy/faces/mine/maps.png").is_file()


def test_the_face(here):
    data = prepared.load(here / "toy")
    assert features.pick_face(data)[0] == "5"  # of the test faces 4 and 5, the one with all points
    for face in range(6):  # gray 20 + id
        name, image = features.pick_face(data, str(face))
        assert (name, int(image[0, 0])) == (str(face), 20 + face)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--run", "run", "--face", "99"], "toy has no face '99'; its ids are like 4"),
        (["--run", "run", "--data", "nowhere"], "nowhere is not a prepared data set"),
        (["--run", "nowhere"], "nowhere is not a finished run"),
        (["--run", "light"], "light/model.keras does not exist"),
        (["--run", "other"], "other takes images of [48, 48], toy has [96, 96]"),
        (["--run", "dense"], "dense: the network has no convolutions"),
        (["--run", "damaged"], "damaged holds a run that cannot be scored: config.json lacks run, data"),
        (["--run", "list"], "list holds a damaged run record: config.json is not an object"),
        (["--run", "lost"], "lost does not say where its data lie"),
    ],
)
def test_what_cannot_be_drawn(here, capsys, options, found):
    for name, content in (("damaged", "{}"), ("list", "[]")):
        if options[1] == name:
            (make_run(here / name) / "config.json").write_text(content)
    if options[1] == "lost":
        config = make_run(here / "lost") / "config.json"
        config.write_text(config.read_text().replace("data_folder", "elsewhere"))
    if options[1] == "light":
        make_run(here / "light")
    if options[1] == "other":
        make_run(here / "other", image_size=[48, 48])
    if options[1] == "dense":
        images = keras.Input((96, 96))
        make_run(here / "dense", keras.Model(images, layers.Dense(30)(layers.Flatten()(images))))
    assert features.main(options) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert found in said[0]
    assert not (here / "results").exists()
