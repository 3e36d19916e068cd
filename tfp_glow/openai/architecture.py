"""The architecture that the variables of an openai/glow checkpoint have."""

import re
from dataclasses import dataclass
from math import prod

from tfp_glow.openai.checkpoint import SCOPE, Checkpoint, Shapes

__all__ = ["Architecture"]

_OF_A_STEP = re.compile(r"\d+/\d+/(actnorm_(center/b|scale/logs)|f1/l_(1|2|last)/W)")
_LU = ("invconv/L", "invconv/P", "invconv/U", "invconv/log_S", "invconv/sign_S")
_SHUFFLE = ("shuffle/indices", "shuffle/indices_inverse")


@dataclass(frozen=True)
class Architecture:
    """What the names and shapes of a checkpoint's variables say.

    Attributes:
        channels: Channels of the first level, four times those of an image.
        permutation_names: Which variables of each step make its permutation.
    """

    channels: int
    num_levels: int
    num_steps: int
    hidden_channels: int
    coupling: str
    permutation_names: tuple[str, ...]
    learn_top_prior: bool
    num_classes: int | None
    has_classifier: bool

    @property
    def permutation(self) -> str:
        """Its name in `Glow`."""
        if not self.permutation_names:
            return "reverse"
        return "shuffle" if self.permutation_names == _SHUFFLE else "invertible_conv"

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> "Architecture":
        """Reads the architecture off the first step, and checks all else against it."""
        shapes, path = checkpoint.shapes, checkpoint.path

        def size(name: str, axis: int = -1) -> int:
            if name not in shapes:
                raise ValueError(_missing(path, name))
            if not shapes[name] or not prod(shapes[name]):
                raise ValueError(
                    f"{path}: {SCOPE + name!r} must not be empty, or without axes. "
                    f"Received: shape={shapes[name]}."
                )
            return shapes[name][axis]

        steps = {
            tuple(map(int, name.split("/")[:2]))
            for name in shapes
            if _OF_A_STEP.fullmatch(name)
        }
        # Gaps end the count: what lies behind them is reported as not belonging there.
        num_levels = num_steps = 1
        while any(i == num_levels for i, _ in steps):
            num_levels += 1
        while any(k == num_steps for _, k in steps):
            num_steps += 1
        channels = size("0/0/actnorm_center/b")
        channels_out = size("0/0/f1/l_last/W")
        couplings = {channels: "affine", channels // 2: "additive"}
        if channels % 4 or channels_out not in couplings:
            raise ValueError(
                f"{path}: 'model/0/0/f1/l_last/W' must put out {channels} channels, or "
                f"{channels // 2} for an additive coupling, and the first level have a "
                f"multiple of 4. Received: shape={shapes['0/0/f1/l_last/W']}."
            )
        permutations = [("invconv/W",), _LU, _SHUFFLE]
        found = [p for p in permutations if any(f"0/0/{name}" in shapes for name in p)]
        num_classes = None
        if "prior/y_emb/W" in shapes:
            num_classes = size("prior/y_emb/W", axis=0)
        elif "classifier/W" in shapes:
            raise ValueError(_missing(path, "prior/y_emb/W"))
        architecture = cls(
            channels=channels,
            num_levels=num_levels,
            num_steps=num_steps,
            hidden_channels=size("0/0/f1/l_1/W"),
            coupling=couplings[channels_out],
            permutation_names=found[0] if found else (),
            learn_top_prior="prior/p/W" in shapes,
            num_classes=num_classes,
            has_classifier="classifier/W" in shapes,
        )
        _check_same(path, shapes, architecture.variables())
        return architecture

    def variables(self) -> Shapes:
        """Shapes of all variables that such a model has, by their names."""
        shapes = {}
        for i in range(self.num_levels):
            c = self.channels * 2**i
            if i < self.num_levels - 1:
                shapes |= _conv(f"pool{i}/conv", c // 2, c)
            for k in range(self.num_steps):
                step = self._step_variables(c)
                shapes |= {f"{i}/{k}/{name}": shape for name, shape in step.items()}
        if self.learn_top_prior:
            shapes |= _conv("prior/p", 2 * c, 2 * c)
        if self.num_classes is not None:
            shapes |= _linear("prior/y_emb", self.num_classes, 2 * c)
        if self.has_classifier:
            shapes |= _linear("classifier", c, self.num_classes)
        return shapes

    def _step_variables(self, c: int) -> Shapes:
        width = self.hidden_channels
        channels_out = c if self.coupling == "affine" else c // 2
        matrices = ("invconv/W", "invconv/P", "invconv/L", "invconv/U")
        permutation = {
            name: (c, c) if name in matrices else (c,)
            for name in self.permutation_names
        }
        return {
            "actnorm_center/b": (1, 1, 1, c),
            "actnorm_scale/logs": (1, 1, 1, c),
            **permutation,
            "f1/l_1/W": (3, 3, c // 2 + 1, width),
            "f1/l_1/actnorm_center/b": (1, 1, 1, width),
            "f1/l_1/actnorm_scale/logs": (1, 1, 1, width),
            "f1/l_2/W": (1, 1, width, width),
            "f1/l_2/actnorm_center/b": (1, 1, 1, width),
            "f1/l_2/actnorm_scale/logs": (1, 1, 1, width),
            **_conv("f1/l_last", width, channels_out),
        }


def _conv(name: str, channels_in: int, channels_out: int) -> Shapes:
    """openai/glow's `conv2d_zeros`; the last input channel is the edge indicator."""
    return {
        f"{name}/W": (3, 3, channels_in + 1, channels_out),
        f"{name}/b": (1, 1, 1, channels_out),
        f"{name}/logs": (1, channels_out),
    }


def _linear(name: str, channels_in: int, channels_out: int | None) -> Shapes:
    """openai/glow's `linear_zeros`."""
    return {
        f"{name}/W": (channels_in, channels_out),
        f"{name}/b": (1, channels_out),
        f"{name}/logs": (1, channels_out),
    }


def _check_same(path: str, shapes: Shapes, expected: Shapes) -> None:
    """Raises `ValueError` unless exactly the expected variables are there."""
    for name in sorted(expected.keys() | shapes.keys()):
        if name not in shapes:
            raise ValueError(_missing(path, name))
        if name not in expected:
            raise ValueError(
                f"{path} has a variable {SCOPE + name!r}, which openai/glow does not "
                "make in a model like this. Received: "
                f"shape={shapes[name]}."
            )
        if shapes[name] != expected[name]:
            raise ValueError(
                f"{path}: {SCOPE + name!r} must have shape {expected[name]} beside the "
                f"checkpoint's other variables. Received: shape={shapes[name]}."
            )


def _missing(path: str, name: str) -> str:
    return (
        f"{path} has no variable {SCOPE + name!r}, which a model like this has in "
        "openai/glow. Is the checkpoint whole, and of openai/glow?"
    )
