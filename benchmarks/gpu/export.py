"""Writes a training step or a sampler of Glow as a program for an accelerator.

The program is StableHLO, what XLA compiles: `run.py` in it runs it with JAX alone, on a
machine that need not have TensorFlow. A bundle is a folder of

- `program.stablehlo`, and `initial.stablehlo`, which makes the program's state where it
  runs, so that no weights are copied
- `arguments.npz`: what goes in and is no state: images, or latents
- `manifest.json`: what goes in and comes out, in order, and how much work it is
- `run.py`, and what it needs

    python benchmarks/gpu/export.py BUNDLE --steps 32 --batch 64 --memory reversible
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from programs import Program, add_options, make_program

from tfp_glow.accelerate import stablehlo
from tfp_glow.accelerate.stablehlo import SEED, export_program, make_initializer

FOLDER = Path(__file__).parent
# What runs a bundle, and what compiles it for a card that is not there.
RUNNERS = [
    FOLDER / "run.py",
    FOLDER / "report.py",
    FOLDER / "compile_only.py",
    Path(stablehlo.__file__).parent / "on_card" / "exported.py",  # imports JAX
]


def write_bundle(program: Program, folder: Path, options: dict[str, object]) -> None:
    """Writes a program, its initial state, its arguments and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    described = export_program(
        folder / "program.stablehlo", program.function, program.arguments
    )
    by_name = {variable.name: variable for variable in program.variables}
    used = [v["variable"] for v in described["inputs"] if "variable" in v]
    initial = export_program(
        folder / "initial.stablehlo",
        make_initializer([by_name[name] for name in used]),
        {"seed": SEED},
    )
    np.savez(folder / "arguments.npz", **program.arguments)
    manifest = {
        "options": options,
        "num_steps": program.num_steps,
        "batch_size": program.batch_size,
        "convolution_flops": program.convolution_flops,
        "parameters": program.num_parameters,
        "result": program.result,
        "program": described,
        "initial": initial,
        "variables": used,  # in the order of what `initial` returns
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    for file in RUNNERS:
        shutil.copy(file, folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the bundle that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    add_options(parser)
    options = vars(parser.parse_args(arguments))
    folder = options.pop("bundle")
    write_bundle(make_program(argparse.Namespace(**options)), folder, options)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB. Next: python {folder}/run.py")


if __name__ == "__main__":
    main()
