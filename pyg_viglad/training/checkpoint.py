"""The checkpoint of a training, and how Ctrl-C ends one."""

import io
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException

from pyg_viglad.files import write_bytes

__all__ = ["LastCheckpoint", "WholeFiles", "run_trainer"]


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all.

    Lightning alone writes to the system's temporary folder and, where that is another file system,
    copies the file over the last checkpoint, so that a kill or a full disk leaves a truncated file.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Writes a checkpoint; ``torch.save`` does not report a full disk."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content.getbuffer())


class LastCheckpoint(Checkpoint):
    """Keeps the last checkpoint of a training in one file.

    It is written every so many steps, after the last step, and before an early end: by a limit of
    time, by Ctrl-C (see :func:`run_trainer`) or by SIGTERM. The current step is finished
    first, so that weights, optimizer and step number agree.

    Args:
        path: The file.
        every: Steps between two checkpoints.
    """

    def __init__(self, path: str | Path, every: int) -> None:
        self.path = path
        self.every = every

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Writes the checkpoint where one is due."""
        stop = trainer.should_stop or trainer.received_sigterm
        # All processes of a distributed training have to stop after the same step.
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        step = trainer.global_step
        if trainer.should_stop or step == trainer.max_steps or step % self.every == 0:
            trainer.save_checkpoint(self.path)


def run_trainer(
    trainer: Trainer,
    module: LightningModule,
    loaders: Any,
    checkpoint: str | Path | None = None,
) -> None:
    """Trains a module; Ctrl-C ends the training after the current step, with a checkpoint.

    A second Ctrl-C ends it at once, with the last regular checkpoint. Lightning alone would exit
    without a checkpoint and ignore Ctrl-C from then on.

    Args:
        trainer: The trainer; the checkpoint needs :class:`LastCheckpoint` among its callbacks.
        module: The module to train.
        loaders: Its data loaders.
        checkpoint: A checkpoint to resume from.

    Raises:
        KeyboardInterrupt: After Ctrl-C; it tells where the checkpoint is.
        SystemExit: After SIGTERM, with code 143.
    """
    interrupted = False

    def finish_step(*_: Any) -> None:
        nonlocal interrupted
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not trainer.optimizers:  # no step yet, but maybe minutes of the teacher's statistics
            raise KeyboardInterrupt
        interrupted = trainer.should_stop = True

    before = signal.getsignal(signal.SIGINT)
    # Not where the user has Ctrl-C ignored, nor in threads, which get no signals.
    handled = callable(before) and threading.current_thread() is threading.main_thread()
    if handled:
        signal.signal(signal.SIGINT, finish_step)
    try:
        trainer.fit(module, loaders, ckpt_path=checkpoint, weights_only=True)
    except SIGTERMException as stop:
        stop.code = 128 + signal.SIGTERM
        raise
    except BaseException as error:
        # Lightning exits on a second Ctrl-C; processes that load images die from the first.
        if interrupted or isinstance(error, SystemExit):
            raise KeyboardInterrupt from error
        raise
    finally:
        if handled:
            signal.signal(signal.SIGINT, before)
    if interrupted:
        kept = getattr(trainer.checkpoint_callback, "path", None)
        place = f", kept in '{kept}'" if trainer.global_step and kept is not None else ""
        raise KeyboardInterrupt(f"after step {trainer.global_step}{place}")
