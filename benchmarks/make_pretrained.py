"""Makes a model that comes with the package: trains it, packs it, measures it.

    python benchmarks/make_pretrained.py digits
    python benchmarks/make_pretrained.py fashion --data-dir DIR

Two hours of CPU time at most. `tfp_glow/pretrained/NAME` is written anew. The training
is `tfp-glow train` with the options below; `--run` takes one that is there. What is
packed are the weights, those of networks rounded to float16, and the figures are of
these.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import tfp_glow as tfg
from tfp_glow import pretrained
from tfp_glow.cli.inference import draw, find_dataset, measure
from tfp_glow.cli.run_folder import Run, load_run, read_metrics, write_json
from tfp_glow.latents import AttributeDirections, attribute_directions
from tfp_glow.model_card import model_card
from tfp_glow.plots import image_grid
from tfp_glow.publishing import CARD, CONFIG, WEIGHTS

# Bounded: or what is far from the training images does not come back exactly.
RECIPE = ("--dequantization", "variational", "--scale", "bounded")
TRAINING = {
    "digits": ["--dataset", "digits", "--preset", "digits", "--epochs", "80", *RECIPE],
    "fashion": [
        *("--dataset", "fashion_mnist", "--preset", "fashion", "--epochs", "8"),
        *RECIPE,
    ],
}
NUM_EXAMPLES = 64
TEMPERATURE = 0.7
INK = 32  # of 255: what is brighter belongs to the thing
TOPS = (0, 2, 4, 6)  # T-shirt/top, pullover, coat, shirt


def main() -> None:
    """Trains, unless there is a run, and packs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=pretrained.NAMES)
    parser.add_argument("--run", type=Path, help="of a training that is there")
    parser.add_argument("--data-dir", help="folder of prepared TensorFlow Datasets")
    arguments = parser.parse_args()
    run = arguments.run or Path("runs") / f"pretrained-{arguments.name}"
    if arguments.run is None:
        command = [sys.executable, "-m", "tfp_glow.cli", "train", "--output", str(run)]
        command += TRAINING[arguments.name]
        if arguments.data_dir is not None:
            command += ["--data-dir", arguments.data_dir]
        subprocess.run(command, check=True)
    pack(arguments.name, load_run(run), arguments.data_dir)


def pack(name: str, trained: Run, data_dir: str | None) -> None:
    """Writes the folder of a model that comes with the package."""
    folder = Path(pretrained.__file__).parent / name
    shutil.rmtree(folder, ignore_errors=True)
    trained.model.save_pretrained(folder, dtype="float16")
    (folder / CONFIG).unlink()  # The weights say the same of themselves.
    model = tfg.GlowModel.from_pretrained(folder / WEIGHTS)

    source = argparse.Namespace(dataset=None, data_dir=data_dir)
    dataset, source, info = find_dataset(trained, source)
    names = info.class_names or [str(k) for k in range(info.num_classes)]
    images, labels = tfg.data.load_arrays(dataset, "test", **source)
    metrics = read_metrics(trained.path)
    metrics["held_out"] = {"split": "test", **measure(model, images, labels)}
    np.savez_compressed(
        folder / pretrained.EXAMPLES,
        images=images[:NUM_EXAMPLES],
        labels=labels[:NUM_EXAMPLES],
        class_names=np.array(names, dtype=np.str_),
    )

    images, labels = tfg.data.load_arrays(dataset, "train", **source)
    find_directions(model, images, labels, list(names), name).save(
        folder / pretrained.DIRECTIONS
    )

    write_json(folder / "metrics.json", metrics)
    image_grid(draw(model, 25, TEMPERATURE)).savefig(folder / "samples.png")
    card = model_card(
        model,
        name,
        config=trained.config,
        metrics=metrics,
        picture="samples.png",
    )
    (folder / CARD).write_text(card, encoding="utf-8")
    checked = (WEIGHTS, pretrained.DIRECTIONS, pretrained.EXAMPLES)
    sums = "".join(
        f"{hashlib.sha256((folder / file).read_bytes()).hexdigest()}  {file}\n"
        for file in checked
    )
    (folder / pretrained.CHECKSUMS).write_text(sums, encoding="ascii")
    print(json.dumps(metrics["held_out"], indent=2))
    for file in sorted(folder.iterdir()):
        print(f"{file.stat().st_size / 1e6:8.3f} MB  {file.name}")


def find_directions(
    model: tfg.GlowModel,
    images: np.ndarray,
    labels: np.ndarray,
    class_names: list[str],
    name: str,
) -> AttributeDirections:
    """Directions of the classes; of clothes also of what can be read off them.

    An image has such an attribute where it has more of it than the median image.
    """
    columns = [labels == k for k in range(len(class_names))]
    if name == "digits":
        return attribute_directions(
            model, images, np.stack(columns, axis=1), names=class_names
        )
    columns += [above_median(read(images)) for read in (brightness, width)]
    all_clothes = attribute_directions(
        model,
        images,
        np.stack(columns, axis=1),
        names=[*class_names, "brightness", "width"],
    )
    tops = images[np.isin(labels, TOPS)]
    of_tops = attribute_directions(
        model, tops, above_median(sleeves(tops)), names=["sleeves"]
    )
    return join(all_clothes, of_tops)


def above_median(values: np.ndarray) -> np.ndarray:
    """Which numbers are above their median, `[N]`."""
    return values > np.median(values)


def brightness(images: np.ndarray) -> np.ndarray:
    """Mean value of the thing's pixels, `[N]`."""
    is_ink = images > INK
    num_ink = np.maximum(is_ink.sum(axis=(1, 2, 3)), 1)
    return np.where(is_ink, images, 0).sum(axis=(1, 2, 3)) / num_ink


def width(images: np.ndarray) -> np.ndarray:
    """Columns that the thing is in, `[N]`."""
    return (images > INK).any(axis=(1, 3)).sum(axis=1)


def sleeves(images: np.ndarray) -> np.ndarray:
    """Share of the lower half that the thing covers beside the trunk, `[N]`.

    Long sleeves hang down to there, short ones do not.
    """
    size = images.shape[1]
    is_ink = images[:, size // 2 : size * 3 // 4] > INK
    outer = np.r_[: size * 9 // 32, size * 23 // 32 : size]
    return is_ink[:, :, outer].mean(axis=(1, 2, 3))


def join(*directions: AttributeDirections) -> AttributeDirections:
    """Several sets of directions as one."""
    return AttributeDirections(
        tuple(name for part in directions for name in part.names),
        np.concatenate([part.vectors for part in directions]),
        np.concatenate([part.num_positives for part in directions]),
        np.concatenate([part.num_negatives for part in directions]),
    )


if __name__ == "__main__":
    main()
