"""The networks of `models/` written in PyTorch, so that their speed can be compared at equal work.

Same layers, sizes and output as `models/<name>.py`; modules bear the names of the Keras layers, which is how
`copy_weights` finds its way. Written as a PyTorch user would: images [B, 1, H, W], eager mode, mixed precision
through autocast with the output layer outside of it. To add one: a class here and its name in `TWINS`; or
the reason why there is none in `benchmark_task.WITHOUT_TWIN`.

PyTorch is an optional extra (`pip install torch==2.13.0`); nothing else in the project imports this module.
"""

import math

import torch
from torch import nn

from models import dsnt, naimishnet, net2, vgg_face


class KeypointOutput(nn.Linear):
    """`models.layers.keypoint_output`: mean face + (width / 10) * dense, [B, K, 2] pixels, always float32."""

    def __init__(self, features, image_size, mean_face):
        super().__init__(features, 2 * len(mean_face))
        self.scale = image_size[1] / 10
        self.register_buffer("mean_face", torch.tensor(mean_face, dtype=torch.float32))

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            points = super().forward(x.float()).view(-1, *self.mean_face.shape)
            return self.mean_face + self.scale * points


class Base(nn.Module):
    """models/base.py"""

    def __init__(self, image_size, mean_face):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.before_flatten = (64, image_size[0] // 8, image_size[1] // 8)
        self.hidden = nn.Linear(64 * (image_size[0] // 8) * (image_size[1] // 8), 256)
        self.outputs = KeypointOutput(256, image_size, mean_face)

    def forward(self, images):
        x = gray_to_unit(images)
        for conv in (self.conv1, self.conv2, self.conv3):
            x = self.pool(torch.relu(conv(x)))
        return self.outputs(torch.relu(self.hidden(x.flatten(1))))


class V1(nn.Module):
    """models/v1.py. PyTorch's momentum is the share of the new batch: 0.3 is Keras' 0.7."""

    def __init__(self, image_size, mean_face):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv4 = nn.Conv2d(64, 128, 3, padding=1)
        self.conv5 = nn.Conv2d(128, 128, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.normalise = nn.BatchNorm2d(128, eps=1e-3, momentum=0.3)
        self.dropout1 = nn.Dropout(0.3)
        self.before_flatten = (128, image_size[0] // 16, image_size[1] // 16)
        self.hidden = nn.Linear(128 * (image_size[0] // 16) * (image_size[1] // 16), 256)
        self.dropout2 = nn.Dropout(0.1)
        self.outputs = KeypointOutput(256, image_size, mean_face)

    def forward(self, images):
        x = gray_to_unit(images)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = self.pool(torch.relu(conv(x)))
        x = self.normalise(torch.relu(self.conv5(x)))
        x = torch.relu(self.hidden(self.dropout1(x.flatten(1))))
        return self.outputs(self.dropout2(x))


class LeNet5(nn.Module):
    """models/lenet5.py"""

    def __init__(self, image_size, mean_face):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.AvgPool2d(2)
        self.before_flatten = (16, *(((side - 4) // 2 - 4) // 2 for side in image_size))
        self.hidden1 = nn.Linear(math.prod(self.before_flatten), 120)
        self.hidden2 = nn.Linear(120, 84)
        self.outputs = KeypointOutput(84, image_size, mean_face)

    def forward(self, images):
        x = gray_to_unit(images)
        for conv in (self.conv1, self.conv2):
            x = self.pool(torch.tanh(conv(x)))
        return self.outputs(torch.tanh(self.hidden2(torch.tanh(self.hidden1(x.flatten(1))))))


class NaimishNet(nn.Module):
    """models/naimishnet.py"""

    def __init__(self, image_size, mean_face):
        super().__init__()
        channels, sides = 1, image_size
        for number, (filters, size, rate) in enumerate(naimishnet.BLOCKS, start=1):
            self.add_module(f"conv{number}", nn.Conv2d(channels, filters, size))
            self.add_module(f"dropout{number}", nn.Dropout(rate))
            channels, sides = filters, [(side - size + 1) // 2 for side in sides]
        self.pool = nn.MaxPool2d(2)
        self.before_flatten = (channels, *sides)
        self.hidden1 = nn.Linear(math.prod(self.before_flatten), 1000)
        self.dropout5 = nn.Dropout(0.5)
        self.hidden2 = nn.Linear(1000, 1000)
        self.dropout6 = nn.Dropout(0.6)
        self.outputs = KeypointOutput(1000, image_size, mean_face)

    def forward(self, images):
        x = gray_to_unit(images)
        for number in range(1, len(naimishnet.BLOCKS) + 1):
            x = self.pool(nn.functional.elu(getattr(self, f"conv{number}")(x)))
            x = getattr(self, f"dropout{number}")(x)
        x = self.dropout5(nn.functional.elu(self.hidden1(x.flatten(1))))
        return self.outputs(self.dropout6(self.hidden2(x)))


class Net2(nn.Module):
    """models/net2.py. PyTorch's momentum is the share of the new batch: 0.3 is Keras' 0.7."""

    def __init__(self, image_size, mean_face):
        super().__init__()
        channels, sides = 1, image_size
        for number, (filters, size) in enumerate(net2.BLOCKS, start=1):
            self.add_module(f"conv{number}", nn.Conv2d(channels, filters, size))
            self.add_module(f"normalise{number}", nn.BatchNorm2d(filters, eps=1e-5, momentum=0.3))
            channels, sides = filters, [(side - size + 1) // 2 for side in sides]
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.2)
        self.before_flatten = (channels, *sides)
        self.hidden1 = nn.Linear(math.prod(self.before_flatten), 1024)
        self.hidden2 = nn.Linear(1024, 256)
        self.outputs = KeypointOutput(256, image_size, mean_face)

    def forward(self, images):
        x = gray_to_unit(images)
        for number in range(1, len(net2.BLOCKS) + 1):
            x = torch.relu(getattr(self, f"normalise{number}")(getattr(self, f"conv{number}")(x)))
            x = self.dropout(self.pool(x))
        x = self.dropout(torch.relu(self.hidden1(x.flatten(1))))
        return self.outputs(self.dropout(torch.relu(self.hidden2(x))))


class VGGFace(nn.Module):
    """models/vgg_face.py"""

    def __init__(self, image_size, mean_face, width):
        super().__init__()
        channels = 1
        for block, (filters, convolutions) in enumerate(vgg_face.BLOCKS, start=1):
            for number in range(1, convolutions + 1):
                self.add_module(f"conv{block}_{number}", nn.Conv2d(channels, round(width * filters), 3, padding=1))
                channels = round(width * filters)
        self.pool = nn.MaxPool2d(2)
        self.before_flatten = (channels, *(side // 2 ** len(vgg_face.BLOCKS) for side in image_size))
        self.hidden1 = nn.Linear(math.prod(self.before_flatten), round(width * 4096))
        self.hidden2 = nn.Linear(round(width * 4096), round(width * 4096))
        self.dropout = nn.Dropout(0.5)
        self.outputs = KeypointOutput(round(width * 4096), image_size, mean_face)

    def forward(self, images):
        x = gray_to_unit(images)
        for block, (_, convolutions) in enumerate(vgg_face.BLOCKS, start=1):
            for number in range(1, convolutions + 1):
                x = torch.relu(getattr(self, f"conv{block}_{number}")(x))
            x = self.pool(x)
        x = self.dropout(torch.relu(self.hidden1(x.flatten(1))))
        return self.outputs(self.dropout(torch.relu(self.hidden2(x))))


class DSNT(nn.Module):
    """models/dsnt.py. PyTorch's momentum is the share of the new batch: 0.2 is Keras' 0.8."""

    def __init__(self, image_size, mean_face, size):
        super().__init__()
        (stem, *stages, decoder), self.depths = dsnt.SIZES[size]
        self.convolve("stem", 1, stem, 5)
        self.convolve("entry", stem, stages[0], 3)
        channels = stages[0]
        for stage, (filters, blocks) in enumerate(zip(stages, self.depths, strict=True), start=1):
            for block in range(1, blocks + 1):
                name = f"stage{stage}_{block}"
                if channels != filters:
                    self.convolve(f"{name}_skip", channels, filters, 2)
                self.convolve(f"{name}_a", channels, filters, 3)
                self.convolve(f"{name}_b", filters, filters, 3)
                channels = filters
            self.add_module(f"lateral{stage}", nn.Conv2d(channels, decoder, 1))
        for level in (2, 1):
            self.convolve(f"decode{level}", decoder, decoder, 3)
        self.maps = nn.Conv2d(decoder, len(mean_face), 1)
        cells = [side // 4 for side in image_size]
        self.keypoints = nn.Linear(math.prod(cells), 2, bias=False).requires_grad_(False)
        y, x = ((torch.arange(n) + 0.5) * side / n - 0.5 for n, side in zip(cells, image_size, strict=True))
        self.keypoints.weight.copy_(torch.stack(torch.meshgrid(x, y, indexing="xy")).flatten(1))

    def convolve(self, name, channels, filters, size):
        self.add_module(name, nn.Conv2d(channels, filters, size, bias=False))
        self.add_module(f"{name}_norm", nn.BatchNorm2d(filters, eps=1e-3, momentum=0.2))

    def normalised(self, x, name, stride=1):
        """Padded as Keras does: one row more below and to the right where the sum of both is odd."""
        convolution = getattr(self, name)
        size = convolution.kernel_size[0]
        around = max(size - stride, 0)
        x = nn.functional.pad(x, (around // 2, around - around // 2) * 2)
        return getattr(self, f"{name}_norm")(nn.functional.conv2d(x, convolution.weight, stride=stride))

    def residual(self, x, name, stride):
        inner = torch.relu(self.normalised(x, f"{name}_a", stride))
        inner = self.normalised(inner, f"{name}_b")
        if hasattr(self, f"{name}_skip"):
            x = self.normalised(x, f"{name}_skip", stride)
        return torch.relu(x + inner)

    def forward(self, images):
        x = torch.relu(self.normalised(gray_to_unit(images), "stem", 2))
        x = torch.relu(self.normalised(x, "entry", 2))
        lateral = []
        for stage, blocks in enumerate(self.depths, start=1):
            for block in range(1, blocks + 1):
                x = self.residual(x, f"stage{stage}_{block}", 2 if stage > 1 and block == 1 else 1)
            lateral.append(getattr(self, f"lateral{stage}")(x))
        x = lateral.pop()
        for level in (2, 1):
            x = nn.functional.interpolate(x, scale_factor=2) + lateral.pop()
            x = torch.relu(self.normalised(x, f"decode{level}"))
        with torch.autocast("cpu", enabled=False):
            return self.keypoints(torch.softmax(self.maps(x.float()).flatten(2), dim=-1))


TWINS = {
    "base": Base,
    "v1": V1,
    "lenet5": LeNet5,
    "naimishnet": NaimishNet,
    "net2": Net2,
    "vgg_face": VGGFace,
    "dsnt": DSNT,
}


def gray_to_unit(images):
    """Gray images [B, H, W] in 0-255 -> [B, 1, H, W] in -1 to 1, laid out as CPU convolutions like it best."""
    return (images.unsqueeze(1).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def masked_difference(points, labels):
    """`models.losses`: difference with zeros where unlabelled (NaN), and the mask, both [B, K, 2]."""
    labelled = ~torch.isnan(labels)
    return points - torch.where(labelled, labels, points), labelled.float()


def masked_mse(points, labels):
    """Mean squared error in px^2 over the labelled coordinates of a batch."""
    difference, labelled = masked_difference(points, labels)
    return (difference**2).sum() / labelled.sum().clamp(min=1)


def count_parameters(twin) -> int:
    """As Keras counts: with the moving mean and variance of batch normalisation, without constants."""
    moving = sum(b.numel() for name, b in twin.named_buffers() if name.endswith(("running_mean", "running_var")))
    return sum(p.numel() for p in twin.parameters()) + moving


def copy_weights(twin, weights) -> None:
    """Give a twin the weights of its Keras model, `weights["<layer>.<variable>"]` arrays; every one must be used.

    Kernels turn from [H, W, in, out] and [in, out] to [out, in, H, W] and [out, in]. The first dense layer also
    reads its inputs in another order: Keras flattens [H, W, C] and PyTorch [C, H, W].
    """
    names = {"bias": "bias", "gamma": "weight", "beta": "bias"}
    names |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    state = {}
    for name, array in weights.items():
        layer, variable = name.split(".")
        tensor = torch.from_numpy(array)
        if variable != "kernel":
            state[f"{layer}.{names[variable]}"] = tensor
        elif tensor.ndim == 4:
            state[f"{layer}.weight"] = tensor.permute(3, 2, 0, 1)
        else:
            if layer in ("hidden", "hidden1"):
                channels, height, width = twin.before_flatten
                tensor = tensor.view(height, width, channels, -1).permute(2, 0, 1, 3).flatten(0, 2)
            state[f"{layer}.weight"] = tensor.T
    missing, unexpected = twin.load_state_dict(state, strict=False)
    constants = ("num_batches_tracked", "mean_face")
    missing = [name for name in missing if not name.endswith(constants)]
    if missing or unexpected:
        raise ValueError(f"weights that only one of the two has: {', '.join([*missing, *unexpected])}")
