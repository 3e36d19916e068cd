"""The import direction of the package, and what its files may import and weigh."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "tfp_glow").rglob("*.py"))

# Each part imports only parts further up: a part is a file or a folder of the package,
# and `tfp_glow` stands for the package's own `__init__.py`.
ORDER = [
    "version",
    "_start",
    "_names",
    "_batches",
    "_extras",
    "_pictures",
    "_onednn",
    "_allocator",
    "_tensorflow",
    "adamax",
    "_suggest",
    "_checks",
    "_arguments",
    "_replicas",
    "_files",
    "dequantization",
    "data",
    "context",
    "convolution",
    "layers",
    "networks",
    "user_network",
    "_callback_list",
    "_losses",
    "_trainable",
    "bijectors",
    "distributions",
    "_inputs",
    "variational_dequantization",
    "image_flow",
    "step_guard",
    "_first_batch",
    "flow_model",
    "summary",
    "export",
    "weights_file",
    "_download",
    "model_card",
    "publishing",
    "glow_model",
    "_probed_glow",
    "invertibility",
    "_places",
    "callbacks",
    "latents",
    "pretrained",
    "openai",
    "presets",
    "plots",
    "tfp_glow",
    "serving",
    "demo",
    "cli",
    "accelerate",
]
# These know nothing of the flow, so that a user can take them alone.
ALONE = {"adamax", "dequantization", "data"}
HELPERS = {"_extras", "_pictures", "_suggest", "_checks"}

KERAS = {
    "adamax",
    "_callback_list",
    "_trainable",
    "_first_batch",
    "_arguments",
    "flow_model",
    "glow_model",
    "_places",
    "callbacks",
    "presets",
    "publishing",
    "serving",
    "cli",
    "accelerate",
}
PRIVATE = (
    "keras.src.",
    "tensorflow.keras.",
    "tensorflow.python.",
    "tensorflow_probability.python.",
    "tf_keras.",
)
MAX_LINES = 400

each_file = pytest.mark.parametrize(
    "file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix()
)


def part_of(file: Path) -> str:
    path = file.relative_to(ROOT / "tfp_glow")
    return "tfp_glow" if path.name == str(path) == "__init__.py" else path.parts[0]


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imported_names(file: Path) -> set[str]:
    """The dotted names that a file imports, made absolute.

    An import for annotations only, under `TYPE_CHECKING`, is none.
    """
    names = set()
    tree = parse(file)
    tree.body = [node for node in tree.body if not is_type_checking(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                folder = file.relative_to(ROOT).parents[node.level - 1]
                module = ".".join([*folder.parts, *module.split(".")]).rstrip(".")
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported_parts(file: Path) -> set[str]:
    """The parts of the package that a file imports."""
    parts = set()
    for name in imported_names(file):
        package, *rest = name.split(".")
        if package == "tfp_glow":
            is_part = rest and rest[0] in ORDER
            parts.add(rest[0] if is_part else "tfp_glow")
    return parts


def dotted_names(file: Path) -> set[str]:
    """What a file imports or reaches through an import: `tf.keras`, written out."""
    aliases = {}
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    aliases[alias.asname] = alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    names = imported_names(file)
    for node in ast.walk(parse(file)):
        attributes = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        if attributes and isinstance(node, ast.Name):
            names.add(".".join([aliases.get(node.id, node.id), *attributes]))
    return names


@each_file
def test_has_a_place_in_the_order(file):
    assert part_of(file).removesuffix(".py") in ORDER


@each_file
def test_imports_only_what_comes_before_it(file):
    part = part_of(file).removesuffix(".py")
    for other in imported_parts(file) - {part}:
        if part == "tfp_glow":
            continue
        assert ORDER.index(other) < ORDER.index(part), f"{part} imports {other}"
        assert part not in ALONE or other in HELPERS, f"{part} imports {other}"


def test_a_server_holds_neither_keras_nor_the_rest_of_the_package():
    files = [file for file in FILES if part_of(file) == "serving"]
    assert files
    for file in files:
        assert imported_parts(file) <= {"serving", "_names", "_pictures"}, file
        packages = {name.split(".")[0] for name in dotted_names(file)}
        assert not packages & {"keras", "tensorflow_probability", "tf_keras"}, file


@each_file
def test_imports_keras_only_where_models_are(file):
    uses_keras = any(name.split(".")[0] == "keras" for name in dotted_names(file))
    assert not uses_keras or part_of(file).removesuffix(".py") in KERAS


@each_file
def test_uses_only_public_names_of_tensorflow(file):
    names = [f"{name}." for name in dotted_names(file)]
    assert not [name for name in names if name.startswith(PRIVATE)]


@each_file
def test_is_short(file):
    num_lines = len(file.read_text(encoding="utf-8").splitlines())
    assert num_lines <= MAX_LINES
