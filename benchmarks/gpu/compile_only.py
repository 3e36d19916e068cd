"""Compiles the bundle that it is in for an H200 on a machine without one.

Says whether XLA's GPU compiler takes the program, how much memory it plans, and which
library functions it calls. Convolution algorithms are chosen on the card, so that what
these need to work in is not counted. Needs `jax[cuda13]`.

    python BUNDLE/compile_only.py
"""

import argparse
import collections
import json
import os
import re
import time
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"  # of what runs here: nothing
os.environ["XLA_FLAGS"] = "--xla_gpu_autotune_level=0"

import jax
import jax.numpy as jnp
from exported import compile_program, load_program
from jax.experimental import topologies

H200 = """
gpu_device_info {
  cuda_compute_capability { major: 9 } core_count: 132 fpus_per_core: 128
  clock_rate_ghz: 1.98 memory_bandwidth: 4800000000000 device_memory_size: 150000000000
  l2_cache_size: 62914560 shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
}
platform_name: "CUDA"
device_description_str: "NVIDIA H200"
dnn_version_info { major: 9 minor: 12 }
runtime_version { major: 13 }
"""


def main() -> None:
    """Compiles the bundle."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    folder = Path(__file__).parent
    manifest = json.loads((folder / "manifest.json").read_text())
    topology = topologies.get_topology_desc(
        platform="cuda",
        topology_name="1x1x1",
        topology="1 x 1 x 1",
        target_config=H200,
    )
    (device,) = topology.devices
    sharding = jax.sharding.SingleDeviceSharding(device)
    arguments, variables = (
        {
            v[kind]: jax.ShapeDtypeStruct(
                v["shape"], jnp.dtype(v["dtype"]), sharding=sharding
            )
            for v in manifest["program"]["inputs"]
            if kind in v
        }
        for kind in ("argument", "variable")
    )
    program = load_program(folder, manifest["program"], "gpu")
    started = time.perf_counter()
    compiled = compile_program(
        program, arguments, variables, donated=(1,), platform="gpu"
    )
    memory = compiled.memory_analysis()
    calls = re.findall(r'custom_call_target="([^"]+)"', compiled.as_text())
    line = {
        **manifest["options"],
        "device": device.device_kind,
        "jax": jax.__version__,
        "compile_seconds": time.perf_counter() - started,
        "state_and_argument_megabytes": memory.argument_size_in_bytes / 1e6,
        "updated_in_place_megabytes": memory.alias_size_in_bytes / 1e6,
        "temporary_megabytes": memory.temp_size_in_bytes / 1e6,
        "library_calls": dict(collections.Counter(calls)),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
