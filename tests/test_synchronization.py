"""Forward passes and losses never make the host wait for the device.

Without a GPU, tensors without values on a device that is not there ("fake" ones) stand for those of a GPU:
every operation that would read a value back raises, and what is done on a GPU alone is looked at, too.
"""

from contextlib import contextmanager

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyg_viglad import PDN, ViGLAD
from pyg_viglad.nn import knn_graph
from pyg_viglad.scoring import Statistics

IMAGES = torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
OPTIONS = {
    "default": {},
    "gaussian": {
        "dynamic": False,
        "student": "gpdn",
        "losses": "efficientad",
        "node_scorer": {"channels": 3},
    },
    "neighbors": {
        "autoencoder": "conv",
        "node_scorer": {"type": "neighbors", "mirrored": True},
        "whiten": 4,
        "fusion": "pseudo",
    },
}


class NoCopies(TorchDispatchMode):
    """Raises where values travel between host and device, other than a number as an argument."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        copies = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
        if len({t.device for t in tensors if t.dim() or copies}) > 1:
            raise RuntimeError(f"copies between host and device ({func})")
        return out


@contextmanager
def no_synchronization(model):
    """Yields the model on a device, and images there; within, the host may not wait for it."""
    if torch.cuda.is_available():
        model, images = model.to("cuda"), IMAGES.to("cuda")
        model(images)  # loads libraries
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield model, images
        finally:
            torch.cuda.set_sync_debug_mode("default")
    else:
        with FakeTensorMode(allow_non_fake_inputs=True):
            model, images = model.to("cuda"), IMAGES.to("cuda")
            with NoCopies():
                yield model, images


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_detectors(options):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, PDN("small", 8), **options)
    if "node_scorer" in options:
        model.fit_statistics(IMAGES, IMAGES[:2])
    for part in model.modules():
        if isinstance(part, Statistics):
            part.fitted = True
    with no_synchronization(model) as (model, images):
        found = model(images)
        assert found.anomaly_map.device.type == "cuda"
        loss = sum(model.train().loss(images, images[:1]).values())
        assert loss.device.type == "cuda"
        if torch.cuda.is_available():
            loss.backward()


def test_what_synchronizes_is_found():
    with no_synchronization(torch.nn.Linear(96, 1)) as (_, images):
        for wait in (
            lambda: float(images[0, 0, 0, 0]),
            lambda: bool((images > 0).all()),
            lambda: images[images > 0].sum().item(),
            lambda: images.cpu(),
            lambda: images + torch.tensor([1.0]).to(images),
            lambda: knn_graph(images[0, 0], 3, batch=torch.zeros_like(images[0, 0, 0]).long()),
        ):
            with pytest.raises((RuntimeError, DataDependentOutputException)):
                wait()
