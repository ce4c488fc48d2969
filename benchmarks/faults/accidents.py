"""Kills at random moments, full disks, damaged checkpoints, and two runs in one folder."""

import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import yaml

from benchmarks.faults import Outcome
from pyg_viglad import ViGLAD

__all__ = ["check"]

TRAIN = (
    *("train", "--model.size", "small", "--model.image_size", "96", "--model.autoencoder", "conv"),
    *("--trainer.accelerator", "cpu", "--trainer.max_steps", "4", "--trainer.progress", "false"),
    *("--trainer.checkpoint_every", "1", "--data_options"),
    '{"num_train": 3, "num_val": 2, "num_test_good": 0, "num_test_anomalous": 0}',
)
GRID = {
    "name": "killed",
    "seeds": [0],
    "image_size": 96,
    "data": {
        "Digits": {
            "dataset": "digit_anatomy",
            "root": "digits",
            "options": {"num_train": 3, "num_val": 2, "num_test_good": 1, "num_test_anomalous": 4},
        }
    },
    "models": {
        "conv": {
            "type": "viglad",
            "size": "small",
            "autoencoder": "conv",
            "iterations": 3,
            "checkpoint_every": 1,
        }
    },
}
_MEGABYTE = 2**20

# Processes that start at once: a server has imported all that takes long.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["benchmarks.grid.__main__", "pyg_viglad.cli", "lightning", "timm"])


def check(repeats: int = 30) -> Iterator[Outcome]:
    random.seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield _killed_training(folder, repeats)
        yield _killed_saving(folder, repeats)
        yield _killed_grid(folder, repeats)
        yield from _full_disk(folder, repeats)
        yield _damaged_checkpoint(folder, repeats)
        yield _two_runs(folder)


def _start(function: Callable[..., None], *arguments: object) -> BaseProcess:
    process = _context.Process(target=function, args=arguments)
    process.start()
    return process


def _command(arguments: Sequence[str], log: Path, grid: bool = False, largest: int = 0) -> None:
    """Runs ``pyg-viglad`` or the grid with its output in a file; no file may be larger than ``largest``."""
    import resource

    from benchmarks.grid.__main__ import main as run_grid
    from pyg_viglad.cli import main

    torch.set_num_threads(1)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if largest:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error, as on a full disk, not the end
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    (run_grid if grid else main)(arguments)


def _run(*arguments: object) -> int:
    process = _start(_command, *arguments)
    process.join()
    return process.exitcode or 0


def _kill(
    share: float,
    seconds: float,
    output: Path,
    command: Sequence[str],
    log: Path,
    grid: bool = False,
) -> float:
    """Kills a command after a share of its seconds, counted from its output folder on.

    Returns how many these seconds are. One that ends before must not have failed.
    """
    process = _start(_command, command, log, grid)
    while not output.is_dir() and process.is_alive():
        time.sleep(0.01)
    start = time.monotonic()
    process.join(share * seconds)
    ended = process.exitcode is not None
    assert process.exitcode in (None, 0), log.read_text()
    process.kill()
    process.join()
    return time.monotonic() - start if ended else seconds


def _killed_training(folder: Path, repeats: int) -> Outcome:
    """Kills a training at moments spread over its whole length, and resumes it."""
    log, whole = folder / "log", folder / "whole"
    seconds = _kill(1, 600, whole, [*TRAIN, "--output", str(whole)], log)
    files = ("model/model.safetensors", "model/config.json")
    expected = [(whole / file).read_bytes() for file in files]
    wrong, phases = 0, Counter[str]()
    for number in random.sample(range(repeats), repeats):
        part = folder / "part"
        command = [*TRAIN, "--output", str(part)]
        seconds = _kill((number + random.random()) / repeats, seconds, part, command, log)
        phases[_phase(part)] += 1
        resume = ["--resume"] if (part / "config.yaml").is_file() else []
        code = _run([*command, *resume], log)
        found = [(part / file).read_bytes() if (part / file).is_file() else b"" for file in files]
        wrong += code != 0 or found != expected or bool(list(part.rglob("*.part")))
        shutil.rmtree(part)
    reached = ", ".join(f"{times} {phase}" for phase, times in phases.items())
    return Outcome(
        "kill -9 of a training, then --resume",
        repeats,
        f"same weights and statistics as an uninterrupted run; killed {reached}",
        wrong,
    )


def _phase(folder: Path) -> str:
    if (folder / "metrics.json").is_file():
        return "at the end"
    if (folder / "model").is_dir():
        return "while saving"
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        return "before the first checkpoint"
    step = torch.load(checkpoint, weights_only=True)["global_step"]
    return "in training" if step < 4 else "while fitting statistics"


def _save_again_and_again(sources: Sequence[str], target: str) -> None:
    torch.set_num_threads(1)
    models = [ViGLAD.from_pretrained(source) for source in sources]
    while True:
        for model in models:
            model.save_pretrained(target)


def _killed_saving(folder: Path, repeats: int) -> Outcome:
    """Kills a process that saves two models in turn to one folder; the folder must hold one of them."""
    sources = [folder / "whole" / "model", folder / "other"]
    model = ViGLAD.from_pretrained(sources[0])
    model.threshold += 1
    model.save_pretrained(sources[1])
    weights = [(source / "model.safetensors").read_bytes() for source in sources]
    wrong, target = 0, folder / "saved"
    for _ in range(repeats):
        process = _start(_save_again_and_again, [str(source) for source in sources], str(target))
        while not (target / "README.md").is_file():
            time.sleep(0.01)
        time.sleep(random.random())
        process.kill()
        process.join()
        try:
            ViGLAD.from_pretrained(target)
            wrong += (target / "model.safetensors").read_bytes() not in weights
        except (OSError, ValueError):
            wrong += 1
    return Outcome(
        "kill -9 while one model is saved over another", repeats, "one of the two, intact", wrong
    )


def _killed_grid(folder: Path, repeats: int) -> Outcome:
    config = folder / "grid.yaml"
    config.write_text(yaml.safe_dump(GRID))
    log = folder / "log"

    def scores(output: Path) -> dict[str, bytes]:
        return {f.parent.name: f.read_bytes() for f in output.glob("cells/*/scores.csv")}

    whole, part = folder / "grid", folder / "part"
    seconds = _kill(1, 600, whole, [str(config), "--output", str(whole)], log, True)
    expected, wrong = scores(whole), 0
    assert expected, log.read_text()
    command = [str(config), "--output", str(part)]
    for number in random.sample(range(repeats), repeats):
        seconds = _kill((number + random.random()) / repeats, seconds, part, command, log, True)
        code = _run(command, log, True)
        wrong += code != 0 or scores(part) != expected
        shutil.rmtree(part)
    return Outcome(
        "kill -9 of a grid, then restarted", repeats, "same scores as an uninterrupted run", wrong
    )


def _full_disk(folder: Path, repeats: int) -> Iterator[Outcome]:
    """Trains and saves where no file can be larger than some bytes; what stood there has to stay."""
    log = folder / "log"
    whole = folder / "whole"
    checkpoint, model = (whole / f for f in ("checkpoints/last.ckpt", "model/model.safetensors"))
    before = [file.read_bytes() for file in (checkpoint, model)]
    command = [*TRAIN, "--output", str(whole), "--resume"]
    for what, least, most, extra in (
        ("a checkpoint", 4096, len(before[0]) - 1, ["--trainer.max_steps", "6"]),
        ("the model", len(before[1]) // 2, len(before[1]) - 1, []),
    ):
        wrong = 0
        for _ in range(repeats):
            largest = random.randint(least, most)
            # Its cache of teacher features is a file too.
            code = _run([*command, "--fit.cache_teacher", "false", *extra], log, False, largest)
            lines = [
                line for line in log.read_text().splitlines() if line.startswith("pyg-viglad:")
            ]
            after = [file.read_bytes() for file in (checkpoint, model)]
            told = len(lines) == 1 and "File too large" in lines[0] and str(whole) in lines[0]
            wrong += code != 1 or after != before or not told or bool(list(whole.rglob("*.part")))
        yield Outcome(
            f"a full disk while {what} is written (simulated by a file-size limit)",
            repeats,
            "one line that names the file; the old file stays intact",
            wrong,
        )


def _damaged_checkpoint(folder: Path, repeats: int) -> Outcome:
    """Cuts a checkpoint off, or flips one of its bits."""
    log = folder / "log"
    checkpoint = folder / "whole" / "checkpoints" / "last.ckpt"
    content, wrong = checkpoint.read_bytes(), 0
    for number in range(repeats):
        damaged = bytearray(content)
        place = random.randrange(len(damaged))
        if number % 2:
            damaged[place] ^= 1 << random.randrange(8)
        else:
            del damaged[place:]
        checkpoint.write_bytes(damaged)
        code = _run([*TRAIN, "--output", str(folder / "whole"), "--resume"], log)
        lines = [line for line in log.read_text().splitlines() if line.startswith("pyg-viglad:")]
        wrong += code != 1 or len(lines) != 1 or str(checkpoint) not in lines[0]
    checkpoint.write_bytes(content)
    return Outcome(
        "--resume with a truncated checkpoint or a flipped bit",
        repeats,
        "one line that names the checkpoint, exit code 1",
        wrong,
    )


def _two_runs(folder: Path) -> Outcome:
    output, log = folder / "two", folder / "log"
    long = [*TRAIN, "--trainer.max_steps", "100000", "--output", str(output)]
    first = _start(_command, long, folder / "first.log")
    while not (output / "checkpoints" / "last.ckpt").is_file() and first.is_alive():
        time.sleep(0.05)
    code = _run([*TRAIN, "--output", str(output), "--seed", "1"], log)
    alive = first.is_alive()
    first.kill()
    first.join()
    refused = code == 1 and "locked by another process" in log.read_text()
    untouched = "seed: 0" in (output / "config.yaml").read_text()
    return Outcome(
        "a second run in the same folder",
        1,
        "one line, exit code 1; the first continues",
        int(not (refused and alive and untouched)),
    )
