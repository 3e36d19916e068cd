"""What importing the package does to the process besides."""

import subprocess
import sys

import pytest


def run(program):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


def test_tensorflow_s_objects_are_spared_the_garbage_collector():
    program = "import gc, tfp_glow; print(gc.isenabled(), gc.get_freeze_count())"
    is_enabled, num_frozen = run(program)
    assert is_enabled == "True"
    assert int(num_frozen) > 100_000


@pytest.mark.parametrize("before", ["import tensorflow", "import gc; gc.disable()"])
def test_what_was_there_before_is_left_as_it_was(before):
    program = f"{before}\nimport gc\nold = gc.isenabled(), gc.get_freeze_count()\n"
    program += "import tfp_glow\nprint(old[0] == gc.isenabled(), "
    program += "gc.get_freeze_count() - old[1])"
    same, num_frozen = run(program)
    assert same == "True"
    assert (num_frozen == "0") == ("tensorflow" in before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/usr/bin/tfp-glow", "/usr/bin/tfp-glow"),
        ("-m", "/site/tfp_glow/cli/__main__.py"),  # which Python finds in between
    ],
)
def test_a_command_waits_for_no_tensorflow_before_it_is_understood(before, after):
    program = f"""
import sys
sys.argv = [{before!r}, "interpolate", "run", "0", "1", "--steps=1"]
sys.orig_argv = ["python", "-m", "tfp_glow.cli", *sys.argv[1:]]
import tfp_glow
sys.argv[0] = {after!r}
from tfp_glow.cli import main
try:
    main()
except SystemExit as status:
    print(status.code, "tensorflow" in sys.modules)
assert main(["presets"]) == 0
print("tensorflow" in sys.modules, tfp_glow.GlowModel.__name__)
# What Keras would have wrapped was not imported with it, and still can be.
print(len({{"matplotlib", "pandas", "sklearn"}} & sys.modules.keys()))
import matplotlib
print(matplotlib.__name__)
"""
    said = run(program)
    assert said[:2] == ["2", "False"]
    assert said[-4:-2] == ["True", "GlowModel"]
    assert said[-2:] == ["0", "matplotlib"]


@pytest.mark.parametrize(
    "argv", [["train.py", "--help"], ["-m", "tfp-glow"], ["-c", "tfp_glow.cli"]]
)
def test_other_programs_have_all_of_it(argv):
    program = f"import sys\nsys.argv = {argv}\nimport tfp_glow\n"
    program += "print(tfp_glow.GlowModel.__name__)"
    assert run(program) == ["GlowModel"]
