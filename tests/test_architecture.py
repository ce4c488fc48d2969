"""The architecture, read from the import statements: packages in one order, no circle, no private import."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pyg_viglad

ROOT = Path(pyg_viglad.__file__).parent
ORDER = [  # a package imports only from those before it
    *("files", "nn", "transforms", "metrics", "scoring", "models", "datasets"),
    *("graphs", "training", "visualization", "commands", "cli"),
]


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in ROOT.rglob("*.py")}


def imported_modules(source):
    """Yields every module that a source text imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "Expected absolute imports"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if module in MODULES else node.module


IMPORTS = {name: set(imported_modules(path.read_text())) for name, path in MODULES.items()}
PAIRS = [(name, other) for name, others in IMPORTS.items() for other in others if other in MODULES]


def package(module):
    return module.partition(".")[2].partition(".")[0]


def test_imports_follow_the_order_of_the_packages():
    top = {"", "__main__"}  # the package itself, which imports from all
    assert {package(name) for name in MODULES} - top == set(ORDER)
    inner = [(name, other) for name, other in PAIRS if package(name) not in top]
    assert not [pair for pair in inner if package(pair[1]) in top]
    assert not [
        (name, other)
        for name, other in inner
        if ORDER.index(package(other)) > ORDER.index(package(name))
    ]


def test_no_circle_among_modules():
    graph = {name: {other for first, other in PAIRS if first == name} for name in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_no_private_module_is_imported_from_another_package():
    private = [(name, other) for name, other in PAIRS if "._" in other and "__" not in other]
    assert not [(n, o) for n, o in private if not n.startswith(o.rpartition(".")[0] + ".")]


def test_nothing_imports_the_benchmarks():
    assert not [
        name
        for name, others in IMPORTS.items()
        if any(other.split(".")[0] in ("benchmarks", "tests", "examples") for other in others)
    ]


STEPS = """
import sys

def expect_none_of(*heavy):
    found = {*heavy} & {*sys.modules}
    assert not found, found

import pyg_viglad
expect_none_of("timm", "lightning", "sklearn", "matplotlib")
import pyg_viglad.cli, pyg_viglad.nn, pyg_viglad.datasets, pyg_viglad.transforms
import pyg_viglad.scoring, pyg_viglad.graphs, pyg_viglad.training
expect_none_of("timm", "lightning", "sklearn", "matplotlib", "torchvision")
import pyg_viglad.visualization
expect_none_of("bokeh")
import torch
pyg_viglad.visualization.plot_anomaly_maps(
    torch.rand(1, 3, 8, 8), {"a": torch.rand(1, 8, 8)}
)._repr_png_()
expect_none_of("matplotlib.pyplot")
"""


def test_what_is_heavy_is_imported_when_used():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_nothing_unpickles_or_runs_what_a_file_holds():
    """Also where the default would do: older versions of torch and Lightning have others."""
    forbidden = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen"}
    found = []
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            call = ast.unparse(node.func)
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if call == "torch.load" or call.endswith("trainer.fit"):
                found += [(name, call)] if options.get("weights_only") != "True" else []
            elif call == "np.load":
                found += [(name, call)] if options.get("allow_pickle", "False") != "False" else []
            elif call in forbidden or options.get("shell") == "True":
                found.append((name, call))
        found += [(name, other) for other in IMPORTS[name] & {"pickle", "dill", "joblib", "shelve"}]
    assert not found
