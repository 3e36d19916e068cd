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
    ("arguments", "is_loaded"),
    [(["--help"], False), (["train", "-h"], False), ([], False), (["presets"], True)],
)
def test_who_reads_the_help_waits_for_no_tensorflow(arguments, is_loaded):
    program = f"import sys\nsys.argv = ['tfp-glow', *{arguments}]\n"
    program += "import tfp_glow\nprint('tensorflow' in sys.modules)"
    assert run(program) == [str(is_loaded)]
