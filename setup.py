"""Metadata and dependencies of the distribution `tfp-glow`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    """Reads the version as text: importing the package would need TensorFlow."""
    text = (ROOT / "tfp_glow" / "version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if match is None:
        raise ValueError('`tfp_glow/version.py` needs a line `__version__ = "..."`.')
    return match.group(1)


# Lower bounds are the oldest set that the tests ran on. constraints.txt has the newest;
# upper bounds lie above it, some beyond releases that nobody tried, as Pillow's 13.
# TensorFlow 2.18 and 2.19 hold protobuf below 6: beside them TFDS needs
# `tensorflow-metadata<1.18`, which pip does not find out by itself.
CORE = [
    "keras>=3.10,<3.16",
    "matplotlib>=3.8,<3.12",
    "numpy>=1.26,<2.5",
    "pillow>=10.3,<14",  # pictures of a folder
    "psutil>=5.9,<8",  # how much memory there is
    "safetensors>=0.4.3,<0.9",
    "scikit-learn>=1.4,<1.10",
    "tensorboard>=2.18,<2.22",  # the Keras callback; TensorFlow 2.21 omits it
    "tensorflow>=2.18,<2.22",
    "tensorflow-probability[tf]>=0.25,<0.26",
]
DATA = [
    "importlib_resources>=6.4,<8",  # imported by TFDS, which does not declare it
    "scikit-image>=0.22,<0.27",
    "tensorflow-datasets>=4.9.7,<4.10",
]
BENCHMARKS = [
    *DATA,
    "normflows>=1.7.3,<2",  # the peer on PyTorch
    "torch>=2.6,<3",
]
DEMO = [  # `tfp-glow demo`
    "fastapi>=0.115.3,<1",
    "gradio>=6.31,<7",
    "uvicorn>=0.36,<1",
]
HUB = ["huggingface-hub>=1,<3"]  # models of Hugging Face, by their ids
JAX = ["jax>=0.10.2,<0.12"]  # `python -m tfp_glow.accelerate run`
RAY = ["ray[train]>=2.60,<2.61"]  # `tfp-glow train --strategy ray`
SERVE = [  # `tfp-glow serve`
    "fastapi>=0.115.3,<1",
    "grpcio>=1.73,<2",
    "kserve>=0.21,<0.22",
    "orjson>=3.11.6,<4",
    "prometheus-client>=0.20,<1",
    "pydantic>=2.5,<3",
    "uvicorn>=0.36,<1",
]
VIDEO = ["av>=14,<19"]  # `tfp-glow interpolate --mp4`
DEV = [
    *DATA,
    *DEMO,
    *JAX,
    *SERVE,
    *VIDEO,
    "build>=1.2.1,<2",
    "furo>=2025.9,<2027",  # the look of the reference
    "playwright>=1.65,<2",  # drives a browser in `tests/demo`
    "pytest>=8.2,<10",
    "pytest-xdist>=3.6.1,<4",
    "ruff>=0.17,<0.18",
    "setuptools>=77.0.3,<85",  # builds the wheel in `tests/test_packaging.py`
    "sphinx>=8.2,<10",  # makes the reference
]

setup(
    name="tfp-glow",
    version=read_version(),
    description="Glow normalizing flows for TensorFlow Probability",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The tfp_glow authors",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["tfp_glow", "tfp_glow.*"]),
    package_data={"tfp_glow.pretrained": ["*/*"]},
    install_requires=CORE,
    extras_require={
        "benchmarks": BENCHMARKS,
        "data": DATA,
        "demo": DEMO,
        "dev": DEV,
        "hub": HUB,
        "jax": JAX,
        "ray": RAY,
        "serve": SERVE,
        "video": VIDEO,
    },
    entry_points={"console_scripts": ["tfp-glow = tfp_glow.cli:console"]},
    keywords="glow normalizing flows tensorflow probability keras generative models",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
