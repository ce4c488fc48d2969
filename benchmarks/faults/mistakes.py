"""Malformed options, configs of models and data trees: each must end in one clear line before step 1."""

import contextlib
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.faults import Outcome
from pyg_viglad import ViGLAD
from pyg_viglad.cli import main

__all__ = ["check"]

_SMALL = ["--data", "good", "--output", "run", "--model.size", "small", "--model.image_size", "96"]
_SMALL += [
    "--model.autoencoder",
    "conv",
    "--trainer.max_steps",
    "1",
    "--trainer.accelerator",
    "cpu",
]
OPTIONS = [
    b"- data\n- nowhere",
    b"data",
    b"5",
    b"data: 5",
    b"data: null",
    b"data: [a, b]",
    b"data: ''",
    b"data: nowhere",
    b"output: text.txt",
    b"output: text.txt/run",
    b"data_options: 5",
    b"data_options: {image_size: 4}",
    b"data_options: {nothing: 4}",
    b"dataset: nothing",
    b"seed: -1",
    b"seed: 1.5",
    b"penalty: text.txt",
    b"penalty: [a]",
    b"model: small",
    b"model: {size: 3}",
    b"model: {k: 0, autoencoder: vig}",
    b"model: {k: many}",
    b"model: {k: null}",
    b"model: {image_size: 97}",
    b"model: {image_size: [96, 96, 96]}",
    b"model: {teacher: text.txt}",
    b"model: {teacher: 'timm:nothing'}",
    b"model: {operator: nothing, autoencoder: vig}",
    b"model: {quantiles: [0.9]}",
    b"model: {quantiles: [0.9, 0.1]}",
    b"model: {whiten: 1000}",
    b"model: {nothing: 1}",
    b"fit: {batch_size: 0}",
    b"fit: {lr: fast}",
    b"fit: {lr: -1}",
    b"fit: {num_workers: -1}",
    b"trainer: 5",
    b"trainer: {max_steps: 0}",
    b"trainer: {max_minutes: -1}",
    b"trainer: {checkpoint_every: -5}",
    b"trainer: {devices: foo}",
    b"trainer: {precision: 8}",
    b"trainer: {accelerator: nothing}",
    b"resume: true",
    b"resume: maybe",
    b"model: [small",
    b"model: {size: small",
    b"data: !!python/object/apply:os.system [ls]",
    b"config: options.yaml",
    b"data: " + 3000 * b"[" + 3000 * b"]",
    b"\xff\xfe\x00\x01",
    b"\tdata: digits",
]
CONFIGS: list[dict[str, Any]] = [
    {"image_size": None},
    {"image_size": []},
    {"image_size": [96]},
    {"image_size": [96, 96, 96]},
    {"image_size": [96.5, 96]},
    {"image_size": [64, 64]},
    {"image_size": "96"},
    {"size": "large"},
    {"size": None},
    {"teacher": None},
    {"teacher": {}},
    {"teacher": {"name": "pdn"}},
    {"teacher": {"name": "timm:nothing"}},
    {"teacher": "mobilenetv1"},
    {"quantiles": 0.9},
    {"quantiles": [0.9, 0.1]},
    {"quantiles": ["a", "b"]},
    {"autoencoder": 3},
    {"autoencoder": "vig"},
    {"student": []},
    {"fusion": {}},
    {"losses": "none"},
    {"whiten": "many"},
    {"node_scorer": "nothing"},
    {"threshold_quantile": 2},
    {"hard_quantile": "high"},
    {"nothing": 1},
]


def check(repeats: int = 100) -> Iterator[Outcome]:
    """Tries so many faults of each kind at most."""
    with tempfile.TemporaryDirectory() as name, _in_folder(name), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Path("text.txt").write_text("no image")
        _write_tree(Path("good"))
        model = ViGLAD("small", 96, autoencoder="conv")
        model.fit_statistics(torch.rand(4, 3, 96, 96), torch.rand(3, 3, 96, 96))
        model.save_pretrained("model")
        yield _outcome(
            "malformed options in YAML files, `train`", _some(OPTIONS, repeats), _try_options
        )
        yield _outcome(
            "malformed `config.json` of a model, `predict`", _some(CONFIGS, repeats), _try_config
        )
        yield _outcome("malformed folders of images, `train`", _some(_TREES, repeats), _try_tree)
        yield _outcome("the same, `data check`", _some(_TREES, repeats), _try_check)
        harmless = _outcome(
            "harmless oddities of folders, `data check`",
            _some(_HARMLESS, repeats),
            _try_harmless,
        )
        yield harmless._replace(happened="no error") if not harmless.wrong else harmless


@contextlib.contextmanager
def _in_folder(name: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(name)
    try:
        yield
    finally:
        os.chdir(before)


def _some(cases: Sequence[Any], number: int) -> Sequence[Any]:
    return cases[:: max(1, len(cases) // number)][:number]


def _outcome(what: str, cases: Sequence[Any], attempt: Callable[[Any], str]) -> Outcome:
    found = [attempt(case) for case in cases]
    wrong = [text for text in found if text]
    return Outcome(
        what, len(cases), "; ".join(wrong) or "one-line error, no training step", len(wrong)
    )


def _try_options(text: bytes) -> str:
    Path("options.yaml").write_bytes(text)
    return _expect_one_line(["train", *_SMALL, "--config", "options.yaml"], str(text[:40]))


def _try_config(change: dict[str, Any]) -> str:
    shutil.copytree("model", "changed", dirs_exist_ok=True)
    config = json.loads(Path("model", "config.json").read_text(encoding="utf-8"))
    Path("changed", "config.json").write_text(json.dumps({**config, **change}), encoding="utf-8")
    image = "good/train/good/0.png"
    return _expect_one_line(["predict", "--model", "changed", "--images", image], str(change))


def _try_tree(spoil: Callable[[Path], Any]) -> str:
    found = _expect_one_line(["train", *_SMALL, "--data", _spoiled(spoil)], spoil.__name__)
    return found or (f"{spoil.__name__}: it trained" if Path("run/checkpoints").exists() else "")


def _try_check(spoil: Callable[[Path], Any]) -> str:
    return _expect_one_line(["data", "check", _spoiled(spoil)], spoil.__name__)


def _try_harmless(spoil: Callable[[Path], Any]) -> str:
    code, lines = _run(["data", "check", _spoiled(spoil)])
    return "" if code is None else f"{spoil.__name__}: {lines}"


def _expect_one_line(arguments: list[str], name: str) -> str:
    """Returns what went wrong, or nothing."""
    code, lines = _run(arguments)
    errors = [line for line in lines if line.startswith("pyg-viglad: error: ")]
    if code in (1, 2) and errors == lines[-1:] and not any("Traceback" in line for line in lines):
        return ""
    return f"{name}: ended with {code}, {lines[-1:]}"


def _run(arguments: list[str]) -> tuple[Any, list[str]]:
    """Returns the exit code, or the exception that came through, and the lines of standard error."""
    shutil.rmtree("run", ignore_errors=True)
    code, errors = None, io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code
        except Exception as error:
            code = repr(error)
    return code, errors.getvalue().strip().splitlines()


def _spoiled(spoil: Callable[[Path], Any]) -> str:
    shutil.rmtree("tree", ignore_errors=True)
    shutil.copytree("good", "tree")
    spoil(Path("tree"))
    return "tree"


def _write_tree(root: Path) -> None:
    """Writes images and masks that can be trained on."""
    pixels = np.random.default_rng(0).integers(0, 255, (6, 40, 50, 3), np.uint8)
    for folder, number in (("train/good", 6), ("val/good", 2), ("test/good", 2), ("test/bad", 2)):
        (root / folder).mkdir(parents=True)
        for place in range(number):
            Image.fromarray(pixels[place]).save(root / folder / f"{place}.png")
    (root / "ground_truth" / "bad").mkdir(parents=True)
    for place in range(2):
        mask = Image.fromarray(pixels[place, :, :, 0] // 128 * 255)
        mask.save(root / "ground_truth" / "bad" / f"{place}_mask.png")


def _no_files(*folders: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        for folder in folders:
            for path in list((root / folder).iterdir()):
                path.unlink()

    return _named(spoil, f"nothing in {', '.join(folders)}")


def _no_folder(folder: str) -> Callable[[Path], None]:
    return _named(lambda root: shutil.rmtree(root / folder), f"no {folder}")


def _file(name: str, content: bytes) -> Callable[[Path], Any]:
    def spoil(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return _named(spoil, f"{name}: {content[:12]!r}")


def _cut(name: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: len(content) // 2])

    return _named(spoil, f"half of {name}")


def _size(name: str, *size: int) -> Callable[[Path], None]:
    return _named(lambda root: Image.new("RGB", size).save(root / name), f"{name}: {size}")


def _named(spoil: Callable[[Path], Any], name: str) -> Callable[[Path], Any]:
    spoil.__name__ = name
    return spoil


def _flat(number: int) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        images = [path.read_bytes() for path in sorted((root / "train" / "good").iterdir())]
        shutil.rmtree(root)
        root.mkdir()
        for place in range(number):
            (root / f"{place}.png").write_bytes(images[place])

    return _named(spoil, f"{number} images alone")


def _as_file(folder: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        shutil.rmtree(root / folder)
        (root / folder).write_text("a file")

    return _named(spoil, f"{folder} is a file")


def _two_good(root: Path) -> None:
    shutil.copytree(root / "train" / "good", root / "train" / "OK")


def _bomb(root: Path) -> None:
    header = bytearray((root / "test/good/0.png").read_bytes())
    header[16:24] = (100_000).to_bytes(4, "big") * 2
    (root / "test/good/0.png").write_bytes(header)


def _rename(old: str, new: str) -> Callable[[Path], Any]:
    return _named(lambda root: (root / old).rename(root / new), f"{old} as {new}")


def _add(name: str) -> Callable[[Path], Any]:
    return _named(lambda root: (root / name).touch(), f"{name} added")


_TREES = [
    _flat(0),
    _flat(1),
    _flat(2),
    _no_files("train/good"),
    _no_files("val/good"),
    _no_files("test/good"),
    _no_files("test/bad"),
    _no_files("test/good", "test/bad"),
    _no_files("ground_truth/bad"),
    _no_folder("train"),
    _no_folder("test/good"),
    _no_folder("ground_truth/bad"),
    _as_file("train"),
    _as_file("train/good"),
    _as_file("test/good"),
    _file("train/good/0.png", b""),
    _file("train/good/0.png", b"no image"),
    _file("val/good/1.png", b""),
    _file("test/good/1.png", b""),
    _file("test/bad/1.png", b"\x89PNG\r\n\x1a\n"),
    _file("test/bad/1.jpg", b"\xff\xd8\xff\xe0"),
    _file("test/good/a.tif", b"II*\x00" + 20 * b"\xff"),
    _file("ground_truth/bad/0_mask.png", b""),
    _file("ground_truth/bad/0.png", b"GIF89a"),
    _cut("train/good/3.png"),
    _cut("val/good/0.png"),
    _cut("test/bad/0.png"),
    _cut("ground_truth/bad/1_mask.png"),
    _size("train/good/2.png", 1, 1),
    _size("val/good/0.png", 3, 90),
    _size("test/bad/0.png", 90, 2),
    _rename("ground_truth/bad/0_mask.png", "ground_truth/bad/9_mask.png"),
    _rename("ground_truth/bad", "ground_truth/Bad"),
    _rename("test/good", "test/goods"),
    _rename("train", "Train"),
    _two_good,
    _bomb,
]
_HARMLESS = [
    _rename("train/good", "train/Normal"),
    _rename("val", "validation"),
    _rename("test/good", "test/OK"),
    _size("ground_truth/bad/0_mask.png", 10, 10),
    _add("train/good/.DS_Store"),
    _add("train/good/._0.png"),
    _add("train/good/notes.txt"),
    _add("ground_truth/bad/7_mask.png"),
    _no_folder("test"),
    _no_folder("val"),
    _named(lambda root: (root / "train/good/x.png").mkdir(), "a folder x.png"),
    _named(lambda root: os.symlink("nowhere", root / "train/good/x.png"), "a dead link"),
    _named(lambda root: os.symlink("..", root / "train/good/up"), "a link in a circle"),
    _named(lambda root: os.mkfifo(root / "test/bad/x.png"), "a pipe"),
]
