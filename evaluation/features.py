"""What a network looks at: its first filters, and the maps it makes of one face, stage by stage.

    python -m evaluation.features --run runs/synthetic/v1-quick-none-s0
    python -m evaluation.features --run runs/kaggle15/v1-quick-none-s0 --data data/prepared/synthetic

Writes filters.png and maps.png. Maps show the face, so those of a face that is not an embedded one go below faces/,
which git ignores; the second command draws a network of real faces on an embedded one.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.faceset import DataError
from data_prep.prepared import Prepared, embedded, load, refuse_public
from evaluation import collect
from models.apply import load_network
from models.backend import import_keras
from models.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILTERS, MAPS, PER_ROW = 32, 16, 8  # most filters of a layer, most maps of a stage, of either in a row
TILE = 96  # height in pixels that smaller maps and filters are enlarged to
SHRINKS = 0.6  # a layer that leaves less of the height than this ends a stage; an unpadded convolution does not
SHARE_SHOWN = (0.5, 99.5)  # percentiles of a stage's values that are black and white


@dataclass(frozen=True)
class Filters:
    """The kernels of the first convolution of a network, or of one inside it: float32 [C, h, w].

    Summed over the input's channels where there are several: these are copies of one gray image.
    """

    name: str
    kernels: np.ndarray


@dataclass(frozen=True)
class Stage:
    """What leaves one stage of a network: float32 [C, H, W] for one image, most varied map first."""

    name: str
    maps: np.ndarray

    @property
    def constant(self) -> int:
        """How many maps show nothing of this face: they have one value all over."""
        return int((np.ptp(self.maps, axis=(1, 2)) == 0).sum())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.features", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="run folder with a model.keras")
    parser.add_argument("--data", type=Path, help="prepared data set with the face (default: the run's)")
    parser.add_argument("--face", metavar="ID", help="of the face, in any split (default: the most usual test face)")
    default = "results/DATA/features/RUN, or results/DATA/faces/features/RUN where the face is not an embedded one"
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"default: {default}")
    args = parser.parse_args(argv)
    try:
        draw(args.run, args.data, args.face, args.output)
    except (DataError, OSError) as error:
        print(f"evaluation.features: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation.features: stopped", file=sys.stderr)
        return 130
    return 0


def draw(folder: Path, data_folder: Path | None, face: str | None, output: Path | None) -> None:
    """Write both pictures of a run's network, and print its stages. Raises DataError where it cannot."""
    run = collect.read(folder)
    if data_folder is None and "data_folder" not in run.config:
        raise DataError(f"{folder} does not say where its data lie; --data names a prepared data set")
    data = load(data_folder or Path(run.config["data_folder"]))
    output = output or default_output(run, data)
    if not embedded(data.manifest.get("source")):
        refuse_public(output)
    name, image = pick_face(data, face)
    if list(image.shape) != run.config["image_size"]:
        raise DataError(f"{folder} takes images of {run.config['image_size']}, {data.folder} has {list(image.shape)}")
    network = load_network(folder / "model.keras")
    filters, stages = first_filters(network), map_stages(network, image)
    if not stages:
        raise DataError(f"{folder}: the network has no convolutions, so no filters and no maps")

    from evaluation.output import write_together

    figures = {
        "filters.png": filter_figure(filters, f"{run.name}: first filters"),
        "maps.png": map_figure(stages, image, f"{run.name}: maps of face {name} of {data.name}"),
    }
    write_together(
        output.resolve(),
        {
            file: lambda path, figure=figure: figure.savefig(path, dpi=100, metadata={"Software": None})
            for file, figure in figures.items()
        },
    )
    for stage in stages:
        count, height, width = stage.maps.shape
        print(f"{stage.name:30} {height:3} x {width:<3} {count:5} maps, {stage.constant} of them constant")
    print(f"{output}/: {', '.join(figures)}")


def default_output(run: Run, data: Prepared) -> Path:
    hidden = [] if embedded(data.manifest.get("source")) else ["faces"]
    return Path("results", run.config["data"], *hidden, "features", run.name)


def pick_face(data: Prepared, face: str | None = None) -> tuple[str, np.ndarray]:
    """A face's id and image, uint8 [H, W]: the one of that id in any split, else the most usual test face.

    That is, of the faces with the most labels, the one whose points are nearest to these faces' mean. Raises
    DataError for an id that the data set does not have.
    """
    if face is None:
        labels = np.asarray(data.test.observed).sum(axis=1)
        rich = np.flatnonzero(labels == labels.max())
        points = np.nan_to_num(data.test.keypoints[rich])
        place = rich[np.square(points - points.mean(axis=0)).sum(axis=(1, 2)).argmin()]
        return str(data.test.ids[place]), np.array(data.test.images[place])
    for split in (data.test, data.val, data.train):
        for place in np.flatnonzero(split.ids.astype(str) == face):
            return face, np.array(split.images[place])
    raise DataError(f"{data.folder} has no face {face!r}; its ids are like {data.test.ids[0]}")


def first_filters(network, prefix: str = "") -> list[Filters]:
    """The first convolution's kernels of a Keras model: one entry, or one for each model inside it that has some."""
    keras = import_keras()
    for layer in network.layers:
        if _is_convolution(layer, keras):
            kernels = np.asarray(layer.kernel, dtype=np.float32).sum(axis=2)  # [h, w, in, C]
            return [Filters(prefix + layer.name, np.moveaxis(kernels, -1, 0))]
    inner = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    return [filters for model in inner for filters in first_filters(model, f"{prefix}{model.name}/")]


def map_stages(network, image: np.ndarray) -> list[Stage]:
    """The stages of a Keras model on one image, uint8 [H, W]; those of models inside it with the model's name.

    A stage ends with the pooling layer behind convolutions, before a convolution that shrinks the maps itself, and with
    the last map of all. Maps of a single pixel, as in squeeze-and-excitation, are none.
    """
    return _stages(network, image[None].astype(np.float32), "")


def _stages(network, values: np.ndarray, prefix: str) -> list[Stage]:
    keras = import_keras()
    inputs, calls = _calls(network, keras)
    ends = _stage_ends(calls, keras)
    inner = [call for call in calls if isinstance(call.layer, keras.Model)]
    wanted = [*ends.values(), *(call.inputs[0] for call in inner)]
    if not wanted:
        return []
    found = keras.tree.flatten(keras.Model(inputs, wanted)([values], training=False))
    maps, inner_values = found[: len(ends)], found[len(ends) :]
    stages = [
        Stage(prefix + name, _by_variance(np.asarray(keras.ops.cast(map_[0], "float32"))))
        for name, map_ in zip(ends, maps, strict=True)
    ]
    for call, values in zip(inner, inner_values, strict=True):
        stages += _stages(call.layer, values, f"{prefix}{call.layer.name}/")
    return stages


@dataclass(frozen=True)
class _Call:
    """A layer as a network calls it: symbolic tensors in and out."""

    layer: object
    inputs: list
    output: object


def _calls(network, keras) -> tuple[list, list[_Call]]:
    """A network's inputs and its layers' calls, in order. Keras tells them to whoever copies a model."""
    calls = []

    def call(layer, *args, **kwargs):
        output = layer(*args, **kwargs)
        calls.append(_Call(layer, keras.tree.flatten(args), output))
        return output

    copy = keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)
    return copy.inputs, calls


def _stage_ends(calls: list[_Call], keras) -> dict[str, object]:
    """The tensors that `map_stages` shows, by the name of the layer that makes them."""
    made_by = {id(call.output): call for call in calls}
    ends, fresh = {}, set()  # fresh: ids of maps with a convolution since the last stage
    for call in calls:
        maps = [tensor for tensor in call.inputs if _is_map(tensor)]
        from_fresh = [tensor for tensor in maps if id(tensor) in fresh]
        convolves = _is_convolution(call.layer, keras)
        if _is_map(call.output):
            shrinks = bool(maps) and call.output.shape[1] < SHRINKS * max(tensor.shape[1] for tensor in maps)
            if shrinks and from_fresh and convolves:
                maker = made_by[id(from_fresh[0])]
                if isinstance(maker.layer, keras.layers.ZeroPadding2D):
                    maker = made_by[id(maker.inputs[0])]
                ends[maker.layer.name] = maker.output
            elif shrinks and from_fresh:
                ends[call.layer.name] = call.output
            if convolves or (from_fresh and not shrinks):
                fresh.add(id(call.output))
        else:  # the network leaves maps behind, unless another layer goes on with them
            for tensor in from_fresh:
                readers = [other for other in calls if any(tensor is read for read in other.inputs)]
                if not any(_is_map(reader.output) for reader in readers):
                    ends[made_by[id(tensor)].layer.name] = tensor
    return ends


def _is_map(tensor) -> bool:
    return len(tensor.shape) == 4 and max(tensor.shape[1:3]) > 1


def _is_convolution(layer, keras) -> bool:
    return isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.SeparableConv2D)


def _by_variance(maps: np.ndarray) -> np.ndarray:
    """Maps [H, W, C] as [C, H, W], the most varied first."""
    maps = np.moveaxis(maps, -1, 0)
    # In float64, whose rounding orders no two maps otherwise however they lie in memory.
    return maps[np.argsort(-maps.var(axis=(1, 2), dtype=np.float64), kind="stable")]


def filter_figure(filters: list[Filters], title: str) -> "Figure":
    """The strongest kernels of each layer, black and white equally far from zero, which is gray."""
    panels = []
    for layer in filters:
        strength = np.square(layer.kernels).sum(axis=(1, 2))
        kernels = layer.kernels[np.argsort(-strength, kind="stable")][:FILTERS]
        most = float(np.abs(kernels).max()) or 1.0
        count, height, width = layer.kernels.shape
        text = f"{layer.name}: {_some(len(kernels), count)} filters of {height}x{width}, {-most:.2f} to {most:.2f}"
        panels.append((text, kernels, (-most, most)))
    return _figure(panels, title)


def map_figure(stages: list[Stage], image: np.ndarray, title: str) -> "Figure":
    """The face (uint8 [H, W]) and the most varied maps of each stage, one gray scale to a stage."""
    panels = [("the face", image[None].astype(np.float32), (0, 255))]
    for stage in stages:
        maps = stage.maps[:MAPS]
        low, high = (float(value) for value in np.percentile(maps, SHARE_SHOWN))
        count, height, width = stage.maps.shape
        text = f"{stage.name}: {_some(len(maps), count)} maps of {height}x{width}, {low:.2g} to {high:.2g}"
        panels.append((text, maps, (low, high if high > low else low + 1)))
    return _figure(panels, title)


def _some(shown: int, count: int) -> str:
    return str(count) if shown == count else f"{shown} of {count}"


def _figure(panels: list[tuple[str, np.ndarray, tuple[float, float]]], title: str) -> "Figure":
    """Panels under each other: a text, pictures [C, h, w] and the values that are black and white."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from data_prep.style import STYLE

    rows = [-(-len(pictures) // PER_ROW) for _, pictures, _ in panels]
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(PER_ROW, 0.5 + sum(row + 0.35 for row in rows)), layout="constrained")
        axes = figure.subplots(len(panels), squeeze=False, height_ratios=rows).ravel()
        for ax, (text, pictures, (black, white)) in zip(axes, panels, strict=True):
            ax.imshow(_tiled(pictures), cmap="gray", vmin=black, vmax=white, interpolation="nearest")
            ax.set_axis_off()
            ax.set_title(text, loc="left", fontweight="normal")
        figure.suptitle(title, fontsize=10, fontweight="bold")
    return figure


def _tiled(pictures: np.ndarray) -> np.ndarray:
    """Pictures [C, h, w] side by side, `PER_ROW` to a row, with gaps of NaN, which matplotlib leaves blank.

    Small ones are enlarged, each pixel a square, so that all stages' tiles and gaps are about as large.
    """
    enlarged = max(1, TILE // pictures.shape[1])
    pictures = pictures.repeat(enlarged, axis=1).repeat(enlarged, axis=2)
    count, height, width = pictures.shape
    gap = height // 24
    rows = -(-count // PER_ROW)
    tiled = np.full((rows * (height + gap) - gap, PER_ROW * (width + gap) - gap), np.nan, np.float32)
    for place, picture in enumerate(pictures):
        top, left = place // PER_ROW * (height + gap), place % PER_ROW * (width + gap)
        tiled[top : top + height, left : left + width] = picture
    return tiled


if __name__ == "__main__":
    sys.exit(main())
