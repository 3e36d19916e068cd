"""What importing the package does to the process besides."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tfp_glow import _allocator, _onednn, _start, _tensorflow

OPTIONAL = [
    "av",
    "fastapi",
    "gradio",
    "huggingface_hub",
    "jax",
    "kserve",
    "matplotlib",
    "orjson",
    "prometheus_client",
    "ray",
    "skimage",
    "sklearn",
    "tensorflow_datasets",
    "uvicorn",
]


def run(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What a process says that finds no optional package, by keys.

    None in `sys.modules` makes an import fail, as if the package were missing. (Keras
    itself tries to import some of them: to look for them afterwards would prove
    nothing.)
    """
    program = f"""
import gc, json, sys
sys.modules.update(dict.fromkeys({OPTIONAL}))
import tfp_glow
said = {{"is_enabled": gc.isenabled(), "num_frozen": gc.get_freeze_count()}}
said["public"] = [getattr(tfp_glow, name) is not None for name in tfp_glow.__all__]
for name in ("digits", "photos", "mnist"):
    try:
        tfp_glow.data.load(name, "train")
    except ImportError as error:
        said[name] = str(error)
print(json.dumps(said))
"""
    return json.loads(run(program).splitlines()[-1])


def test_tensorflow_s_objects_are_spared_the_garbage_collector(said):
    assert said["is_enabled"]
    assert said["num_frozen"] > 100_000


def test_needs_no_optional_package(said):
    assert all(said["public"])
    assert len(said["public"]) > 10


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("digits", "sklearn.datasets"),
        ("photos", "sklearn.datasets"),
        ("mnist", "tensorflow_datasets"),
    ],
)
def test_data_sets_say_which_package_they_need(said, name, module):
    assert said[name].startswith(f"The data set '{name}' needs `{module}`")
    assert 'pip install "tfp-glow[data]"' in said[name]


@pytest.mark.parametrize("before", ["import tensorflow", "import gc; gc.disable()"])
def test_what_was_there_before_is_left_as_it_was(before, tmp_path):
    """With modules in the place of TensorFlow's, for its own take seconds."""
    for name in ("tensorflow", "tensorflow_probability"):
        (tmp_path / f"{name}.py").touch()
    program = f"import runpy, sys\nsys.path.insert(0, {str(tmp_path)!r})\n{before}\n"
    program += "import gc\nold = gc.isenabled(), gc.get_freeze_count()\n"
    program += "finders = list(sys.meta_path)\n"
    program += f"runpy.run_path({_tensorflow.__file__!r})\n"
    program += "print(old[0] == gc.isenabled(), finders == sys.meta_path)\n"
    program += "print(gc.get_freeze_count() - old[1])"
    *same, num_frozen = run(program).split()
    assert same == ["True", "True"]
    assert (num_frozen == "0") == ("tensorflow" in before)


ALLOCATOR, LIMIT = "TF_CPU_ALLOCATOR_USE_BFC", "TF_CPU_BFC_MEM_LIMIT_IN_MB"


@pytest.fixture
def allocator(monkeypatch):
    """What importing the package sets, with so many bytes of memory."""

    def chosen(total, has_onednn=False, **environment):
        for name in (ALLOCATOR, LIMIT):
            monkeypatch.setenv(name, "")  # so that it is put back, even to nothing
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(_onednn, "has_onednn", lambda: has_onednn)
        memory = SimpleNamespace(total=total)
        monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
        runpy.run_path(_allocator.__file__)
        return os.environ.get(ALLOCATOR), os.environ.get(LIMIT)

    return chosen


def test_allocator_is_chosen_without_onednn_and_allows_all_memory(allocator):
    large = 100 * 2**30 + 1
    assert allocator(large, has_onednn=True) == (None, None)
    assert allocator(large) == ("true", f"{100 * 2**10 + 1}")
    assert allocator(2**30) == ("true", f"{64 * 2**10}")  # TensorFlow's own limit
    assert allocator(large, **{LIMIT: "7"}) == ("true", "7")
    for choice in ("false", "true"):
        assert allocator(large, **{ALLOCATOR: choice}) == (choice, None)


@pytest.mark.parametrize(
    ("option", "cpuinfo", "expected"),
    [
        (None, "flags : fpu avx2 avx512f", False),
        (None, "flags : fpu avx2 avx512_vnni", True),
        (None, None, True),  # no Linux
        ("0", "flags : fpu avx2 avx512_vnni", False),
        ("1", "flags : fpu avx2", True),
        ("perhaps", "flags : fpu avx2", False),
    ],
)
def test_processor_says_whether_tensorflow_has_onednn(
    option, cpuinfo, expected, monkeypatch
):
    def read_text(path, encoding):
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return cpuinfo

    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", option or "")
    if option is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    monkeypatch.setattr(Path, "read_text", read_text)
    assert _onednn.has_onednn.__wrapped__() == expected


@pytest.mark.parametrize(("choice", "counted"), [("", "True"), ("false", "None")])
def test_tensorflow_has_an_allocator_that_counts(choice, counted):
    """Without oneDNN, where TensorFlow would have the C library's, and no figures."""
    program = f"""
import os
for name in ({ALLOCATOR!r}, {LIMIT!r}):
    os.environ.pop(name, None)  # what this process has, which imports the package too
if {choice!r}:
    os.environ[{ALLOCATOR!r}] = {choice!r}
import tfp_glow
import tensorflow as tf
with tf.device("CPU:0"):
    tensor = tf.ones([1000, 1000])
try:
    print(tf.config.experimental.get_memory_info("CPU:0")["current"] >= 4_000_000)
except ValueError:
    print(None)
"""
    assert run(program, TF_ENABLE_ONEDNN_OPTS="0").split() == [counted]


def test_keras_s_wrappers_wait_until_they_are_asked_for():
    program = """
import pickle, sys, threading
import tfp_glow
import keras, tensorflow as tf

def imported():
    return len({"matplotlib", "sklearn"} & sys.modules.keys())

for module in list(sys.modules.values()):
    hasattr(module, "__file__")  # as AutoGraph asks when it converts a function
print(imported(), hasattr(keras.wrappers, "__file__"), imported())
print(pickle.loads(pickle.dumps(keras.wrappers)) is keras.wrappers, imported())
keras.visualization.draw_bounding_boxes = "assigned"
def ask():
    made.append(keras.wrappers.SKLearnClassifier)
made, threads = [], [threading.Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
import sklearn.base
print(len(made), issubclass(made[0], sklearn.base.ClassifierMixin))
print(type(keras.wrappers) is type(sys))
print("plot_image_gallery" in dir(keras.visualization))
print(keras.visualization.draw_bounding_boxes, "matplotlib.pyplot" in sys.modules)
print(tf.keras.wrappers is keras.wrappers, hasattr(keras.wrappers, "no_such_name"))
"""
    assert run(program).split() == [
        *("0", "True", "0"),
        *("True", "0"),
        *("8", "True"),
        *("True", "True"),
        *("assigned", "True"),
        *("True", "False"),
    ]


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
print("tensorflow" in sys.modules)
assert main(["evaluate", "no_such_run"]) == 1
print("tensorflow" in sys.modules, tfp_glow.GlowModel.__name__)
# What Keras would have imported was not imported with it, and still can be.
print(len({{"matplotlib", "pandas", "sklearn"}} & sys.modules.keys()))
import matplotlib
print(matplotlib.__name__)
"""
    said = run(program).split()
    assert said[:2] == ["2", "False"]
    assert said[-5:-2] == ["False", "True", "GlowModel"]
    assert said[-2:] == ["0", "matplotlib"]


@pytest.mark.parametrize(
    "argv", [["train.py", "--help"], ["-m", "tfp-glow"], ["-c", "tfp_glow.cli"]]
)
def test_other_programs_have_all_of_it(argv, monkeypatch):
    monkeypatch.setattr(_start, "_is_wanted", False)
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", ["python", *argv])
    assert not _start.waits_for_flow()
    monkeypatch.setattr(sys, "argv", ["/usr/bin/tfp-glow", *argv])
    assert _start.waits_for_flow()
