"""The page that goes with a published model, as Hugging Face wants it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfp_glow.summary import count
from tfp_glow.version import __version__

if TYPE_CHECKING:
    from tfp_glow.glow_model import GlowModel

__all__ = ["model_card", "public_name"]

_TASK = "unconditional-image-generation"

_SAVED_MODEL = """\
With TensorFlow alone, in the folder of this page:

```python
import tensorflow as tf

signatures = tf.saved_model.load(".").signatures
signatures["sample"]({inputs})["images"]
```

"""
_PRETRAINED = """\
With `tfp_glow`:

```python
import tfp_glow as tfg

model = tfg.GlowModel.from_pretrained(".")
model.bits_per_dim({images}{condition})
```
"""


def model_card(
    model: "GlowModel",
    name: str,
    *,
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    exported: Mapping[str, Any] | None = None,
    picture: str | None = None,
) -> str:
    """Describes a model: data, figures and how they were got, cost, limits.

    What is not known is said to be unknown.

    Args:
        model: The model.
        name: What it is called.
        config: `config.json` of its run, where it has one.
        metrics: `metrics.json` of its run, where it has one.
        exported: `precision` and `merge` of the SavedModel beside it, where there is
            one.
        picture: File name of a grid of samples beside it, where there is one.

    Returns:
        Markdown that begins with Hugging Face's metadata.

    References:
        Mitchell et al. Model cards for model reporting. 2019.
        https://arxiv.org/abs/1810.03993
        https://huggingface.co/docs/hub/model-cards
    """
    config, metrics = config or {}, metrics or {}
    dataset = public_name(config.get("dataset"))
    height, width, channels = model.event_shape
    of_data = f" of `{dataset}`" if dataset else ""
    parts = [
        _front_matter(name, dataset, metrics),
        f"# {name}",
        f"[Glow](https://arxiv.org/abs/1807.03039) for {height} x {width} x "
        f"{channels} images{of_data}: exact likelihoods, latents and samples. Made "
        f"with tfp_glow {__version__}.",
    ]
    if picture:
        parts.append(f"![Samples]({picture})")
    parts += ["## Model", _table(_architecture(model, exported))]
    parts += ["## Data", _data(dataset, config, metrics)]
    figures = _figures(model, config, metrics, exported)
    parts += ["## Bits per dimension", figures]
    parts += ["## Training", _training(config, metrics)]
    parts += ["## Use", _use(model, exported), "## Limits", _limits(dataset, exported)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def public_name(dataset: str | None) -> str | None:
    """The name of a data set without the folders of this machine that it is in.

    Example:
        >>> public_name("folder:/home/ada/cats"), public_name("lsun/bedroom")
        ('folder:cats', 'lsun/bedroom')
    """
    kind, colon, path = (dataset or "").rpartition(":")
    if Path(path).is_absolute():
        path = Path(path).name
    return f"{kind}{colon}{path}" or None


def _front_matter(name: str, dataset: str | None, metrics: Mapping[str, Any]) -> str:
    """Metadata, each value as JSON, which YAML understands."""
    fields: dict[str, Any] = {
        "library_name": "tfp-glow",
        "license": "unknown",
        "pipeline_tag": _TASK,
        "tags": ["glow", "normalizing-flow", "tensorflow", "density-estimation"],
    }
    held_out = metrics.get("held_out")
    if dataset and held_out:
        result = {
            "task": {"type": _TASK, "name": "Density estimation"},
            "dataset": {
                "type": dataset,
                "name": dataset,
                "split": held_out["split"],
            },
            "metrics": [
                {
                    "type": "bits_per_dim",
                    "name": "Bits/dim",
                    "value": round(held_out["bits_per_dim"], 4),
                }
            ],
        }
        fields["model-index"] = [{"name": name, "results": [result]}]
    lines = [f"{key}: {json.dumps(value)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _architecture(
    model: "GlowModel", exported: Mapping[str, Any] | None
) -> dict[str, str]:
    glow = model.glow
    arguments = glow.parameters
    num_parameters = count([model.distribution, model.dequantizer, model.classifier])
    networks = f"width {arguments['hidden_channels']}"
    if arguments["network_fn"] is not None:
        networks = "networks of its author"
    rows = {
        "Images": f"uint8 {list(model.event_shape)}, {model.num_bits} bits modelled",
        "Levels x steps": f"{len(glow.levels)} x {arguments['num_steps']}",
        "Coupling": f"{arguments['coupling']}, {networks}, scale {arguments['scale']}",
        "Permutation": arguments["permutation"],
        "Dequantisation": "uniform" if model.dequantizer is None else "variational",
        "Classes": str(glow.num_classes or "none"),
        "Context": str(glow.context_shape or "none"),
        "Parameters": f"{num_parameters:,}",
        "Precision of the networks": model.dtype_policy.name,
    }
    if exported is not None:
        merged = ", merged" if exported["merge"] else ""
        rows["SavedModel"] = f"{exported['precision']} networks{merged}"
    return rows


def _data(
    dataset: str | None, config: Mapping[str, Any], metrics: Mapping[str, Any]
) -> str:
    if not dataset:
        return "Unknown, and so is its licence."
    note = metrics.get("note", "").removeprefix(f"{dataset}: ")
    text = f"`{dataset}`{': ' * bool(note)}{note}. Licence of the images: "
    text += f"{_licence(config)}."
    if config.get("citation"):
        text += f"\n\n```\n{config['citation'].strip()}\n```"
    return text


def _licence(config: Mapping[str, Any]) -> str:
    licence, homepage = config.get("licence"), config.get("homepage")
    if licence:
        return licence + f" ({homepage})" * bool(homepage)
    if homepage:
        return f"see {homepage}"
    return "unknown; ask whoever collected them"


def _figures(
    model: "GlowModel",
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    exported: Mapping[str, Any] | None,
) -> str:
    held_out = metrics.get("held_out")
    if not held_out:
        return "Not measured."
    draws = held_out["num_noise_samples"]
    error = held_out["standard_error"]
    spread = "" if error is None else f" ± {error:.4f}"
    noise = "uniform" if model.dequantizer is None else "learned"
    lines = [
        f"**{held_out['bits_per_dim']:.4f}**{spread} bits/dim: mean and its standard "
        f"error over {held_out['num_images']:,} images of the split "
        f"{held_out['split']}. It is -log2 P(image) / (H W C) of images of "
        f"{model.num_bits} bits, bounded from above with {draws} "
        f"draw{'s' * (draws > 1)} of {noise} noise an image, at temperature 1"
        f"{', before the export' * (exported is not None)}."
    ]
    momentum = config.get("training", {}).get("ema_momentum")
    if momentum:
        lines.append(
            "The weights are an exponential moving average of those that were trained, "
            f"momentum {momentum}, of the epoch that was best on validation images."
        )
    baselines = {
        name: found["bits_per_dim"]
        for name, found in metrics.get("baselines", {}).items()
        if found["bits_per_dim"] is not None
    }
    if baselines:
        named = ", ".join(f"{name} {bits:.4f}" for name, bits in baselines.items())
        lines.append(f"Simple models on the same images: {named}.")
    return " ".join(lines)


def _training(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    if "imported_from" in config:
        return "Imported from a checkpoint of openai/glow; cost unknown."
    if "training_seconds" not in metrics:
        return "Unknown."
    training = config.get("training", {})
    return (
        f"{metrics['training_seconds']:,.0f} seconds on "
        f"{metrics.get('machine', 'an unknown machine')}; "
        f"{metrics['num_epochs']} epochs, of which number {metrics['best_epoch']} was "
        f"kept; batches of {training.get('batch_size', 'unknown size')}, learning rate "
        f"{training.get('learning_rate', 'unknown')}, seed {config.get('seed')}."
    )


def _use(model: "GlowModel", exported: Mapping[str, Any] | None) -> str:
    labels, context = "", ""
    if model.glow.num_classes is not None:
        labels = f", labels=tf.range(4) % {model.glow.num_classes}"
    if model.glow.context_shape is not None:
        context = ", context=context"
    text = ""
    if exported is not None:
        inputs = "seed=tf.range(4), temperature=tf.fill([4], 0.7)"
        text = _SAVED_MODEL.format(inputs=inputs + labels + context)
    return text + _PRETRAINED.format(
        images=f"images_of_shape_{'_'.join(map(str, model.event_shape))}",
        condition=", labels" * bool(labels) + context,
    )


def _limits(dataset: str | None, exported: Mapping[str, Any] | None) -> str:
    of_data = f"`{dataset}`" if dataset else "its data set"
    lines = [
        f"* It knows images like those of {of_data}, of this size, and nothing else. "
        "Images of another kind can get higher likelihoods than the data: do not take "
        "the likelihood alone for a detector of what is unusual "
        "([Nalisnick et al., 2019](https://arxiv.org/abs/1810.09136)).",
        "* Bits/dim compare with those of the same images, bits and noise only.",
        "* Samples show what the data set shows, its faults and biases included. "
        "Whether they repeat training images has not been examined.",
    ]
    if exported is not None and exported["precision"] == "bfloat16":
        lines.append(
            "* Networks in bfloat16 round: a pixel may come back a level off, and "
            "likelihoods differ a little from those above."
        )
    return "\n".join(lines)


def _table(rows: Mapping[str, str]) -> str:
    body = [f"| {key} | {value} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *body])
