"""The wheel and the sdist, built and installed as a user gets them."""

import ast
import functools
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Mapping
from email.parser import Parser
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE_FILES = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "tfp_glow").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}

# Declared, yet imported by a dependency only: the Keras callback needs the one, TFDS
# forgets to declare the other.
INDIRECT = {"tensorboard", "importlib-resources"}
# The extras that a user may leave out.
LAZY = {"data", "demo", "hub", "jax", "ray", "serve", "video"}
LARGE = {"hub", "ray"}  # without which `make test` skips or fakes what needs it
# Which are imported inside functions alone, or run by themselves.
OPTIONAL_PARTS = (
    "tfp_glow/accelerate/on_card/",
    "tfp_glow/demo/",
    "tfp_glow/serving/",
)


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a command away from the checkout, and returns what it printed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.fail(f"{command} failed:\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The sdist, built from a copy of the checkout, and the wheel, built from it."""
    folder = tmp_path_factory.mktemp("build")
    ignored = ignore_patterns(".*", "venv", "build", "dist", "runs", "*.egg-info")
    copytree(ROOT, folder / "checkout", ignore=ignored)
    run(
        *[sys.executable, "-m", "build", "--no-isolation"],
        *["--outdir", folder, folder / "checkout"],
        cwd=folder,
    )
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.fixture(scope="module")
def metadata(distributions):
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(wheel.read(name).decode())


def requirements(metadata) -> dict[str, set[str]]:
    """Maps each extra, and "" for the core, to the distributions that it names."""
    result: dict[str, set[str]] = {"": set()}
    for line in metadata.get_all("Requires-Dist"):
        extra = re.search(r"""extra == ["'](\w+)["']""", line)
        names = result.setdefault(extra.group(1) if extra else "", set())
        names.add(normalized(re.match(r"[\w.-]+", line).group()))
    return result


def normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_wheel_holds_the_package_and_its_license_and_nothing_else(distributions):
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        names = set(wheel.namelist())
    dist_info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - dist_info == PACKAGE_FILES
    assert any(name.endswith("/LICENSE") for name in dist_info)


def test_sdist_holds_the_package_its_license_and_its_tests(distributions):
    with tarfile.open(distributions["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert names >= PACKAGE_FILES
    assert names >= {"LICENSE", "README.md", "setup.py", "tests/test_packaging.py"}


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_installs_imports_and_runs_in_a_clean_environment(
    kind, distributions, tmp_path
):
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    link_dependencies(python, cwd=tmp_path)

    # Without an index pip has nothing to fetch, and still checks every requirement.
    run(
        *[sys.executable, "-m", "pip", "--isolated", "--python", python, "install"],
        *["--no-index", "--no-build-isolation", distributions[kind]],
        cwd=tmp_path,
    )
    usage = run(environment / "bin" / "tfp-glow", "--help", cwd=tmp_path)
    assert usage.startswith("usage: tfp-glow")
    if kind == "sdist":  # of which the wheel was built
        return
    program = (
        "import importlib.metadata, tfp_glow, tfp_glow.version\n"
        "print(tfp_glow.__file__)\n"
        "print(tfp_glow.version.__version__)\n"
        "print(importlib.metadata.version('tfp-glow'))\n"
    )
    *_, file, version, metadata_version = run(
        python, "-I", "-c", program, cwd=tmp_path
    ).splitlines()
    assert Path(file).is_relative_to(environment)
    assert version == metadata_version


def link_dependencies(python: Path, cwd: Path) -> None:
    """Links what is installed here into an environment: TensorFlow takes minutes.

    The links leave out pip and this package, whose editable install would otherwise
    be found in place of the one that is tested.
    """
    print_path = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = Path(run(python, "-c", print_path, cwd=cwd).strip())
    left_out = ("__pycache__", "__editable__", "tfp_glow", "pip")
    for source in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(source).iterdir():
            if not entry.name.startswith(left_out):
                (target / entry.name).symlink_to(entry)


def test_every_requirement_has_a_lower_and_an_upper_bound(metadata):
    for line in metadata.get_all("Requires-Dist"):
        specifier = line.partition(";")[0]
        assert ">=" in specifier, line
        assert "<" in specifier, line


def test_development_extra_contains_the_other_extras(metadata):
    extras = requirements(metadata)
    for extra in LAZY - LARGE & extras.keys():
        assert extras[extra] <= extras["dev"], extra


def test_python_versions_and_license(metadata):
    assert metadata["License-Expression"] == "Apache-2.0"
    bounds = set(metadata["Requires-Python"].split(","))
    assert bounds == {">=3.11", "<3.14"}


def test_setup_reads_the_version_without_importing_the_package():
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    assert set(third_party_imports(tree)) == {"setuptools"}


def test_requirements_are_what_the_package_imports(metadata):
    declared = requirements(metadata)
    core = declared[""]
    optional = set().union(*(declared.get(extra, set()) for extra in LAZY))

    used = set()
    for name in sorted(PACKAGE_FILES):
        if not name.endswith(".py"):
            continue
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        for module, is_lazy in third_party_imports(tree).items():
            distribution = distribution_of(module)
            is_lazy |= name.startswith(OPTIONAL_PARTS)
            allowed = core | optional if is_lazy else core
            assert distribution in allowed, (
                f"{name} imports {module}: {distribution} has to be in setup.py's "
                "CORE, or in an extra and be imported inside a function."
            )
            used.add(distribution)
    assert core | optional == used | (INDIRECT & (core | optional))


def third_party_imports(tree: ast.Module) -> dict[str, bool]:
    """Maps imported top-level modules to whether the file imports without them."""
    result: dict[str, bool] = {}

    def visit(node: ast.AST, is_lazy: bool) -> None:
        for module in imported_modules(node):
            name = module.partition(".")[0]
            if name not in sys.stdlib_module_names and name != "tfp_glow":
                result[name] = result.get(name, True) and is_lazy
        is_lazy |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_lazy |= isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.iter_child_nodes(node):
            visit(child, is_lazy)

    visit(tree, is_lazy=False)
    return result


def imported_modules(node: ast.AST) -> list[str]:
    """The modules that one node imports: a statement, or `require("module", ...)`."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, level=0):
            return [module]
        case ast.Call(
            func=ast.Name(id=function) | ast.Attribute(attr=function),
            args=[ast.Constant(value=str(module)), *_],
        ) if function in {"require", "import_module"}:
            return [module]
    return []


def distribution_of(module: str) -> str:
    """Names the distribution that provides a module, or the module if none does."""
    return normalized(all_distributions().get(module, [module])[0])


@functools.cache  # it reads what all of them have written
def all_distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()
