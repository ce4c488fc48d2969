"""FastFlow, from anomalib."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from benchmarks.grid._anomalib_detector import AnomalibDetector, anomalib_module
from benchmarks.grid._backbone import Backbone
from benchmarks.grid._loops import in_steps

__all__ = ["FastFlowDetector"]


class FastFlowDetector(AnomalibDetector):
    """FastFlow (Yu et al., 2021): the likelihood of features under a 2-D normalising flow.

    anomalib's ``FastflowModel`` and loss; Adam, 1e-3, weight decay 1e-5. Needs the extra
    ``benchmarks``. Training goes on for all its steps: anomalib would stop by labelled images.

    Args:
        image_size: Height and width of the images.
        seed: Seed of weights and order.
        device: A torch device.
        backbone: A timm model.
        weights: Its state dict as a file; without one, timm fetches it by name.
        strides: Strides of its maps: 4, 8 and 16 are ``layer1`` to ``layer3`` of a ResNet.
        backbone_options: Further arguments of ``timm.create_model``.
        flow_steps: Coupling blocks of each flow (paper: 8).
        conv3x3_only: Whether every second block's convolutions are 3x3 too, instead of 1x1.
        hidden_ratio: Width of the couplings (paper: 1.0, and 0.16 with a WideResNet-50-2).
        iterations: Optimiser steps (paper: 500 epochs).
        train_batch_size: Images a step (paper: 32).
        lr: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        input_size: Size to which images are resized for the model; None leaves them.
        batch_size: Images of a batch of prediction.

    Raises:
        ValueError: If an argument is out of range, or anomalib is not installed.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        seed: int = 0,
        device: str = "cpu",
        *,
        backbone: str = "wide_resnet50_2",
        weights: str | None = None,
        strides: Sequence[int] = (4, 8, 16),
        backbone_options: dict[str, Any] | None = None,
        flow_steps: int = 8,
        conv3x3_only: bool = False,
        hidden_ratio: float = 1.0,
        iterations: int = 6000,
        train_batch_size: int = 32,
        lr: float = 1e-3,
        weight_decay: float = 1e-5,
        input_size: int | list[int] | None = None,
        batch_size: int = 8,
    ) -> None:
        super().__init__(image_size, seed, device, input_size, batch_size)
        if iterations < 1 or train_batch_size < 1 or flow_steps < 1:
            raise ValueError(
                "Expected 'iterations', 'train_batch_size' and 'flow_steps' of at least 1 "
                f"(got {iterations}, {train_batch_size}, {flow_steps})"
            )
        self.backbone = Backbone(backbone, weights, strides, backbone_options)
        self.flow = {
            "flow_steps": flow_steps,
            "conv3x3_only": conv3x3_only,
            "hidden_ratio": hidden_ratio,
        }
        self.iterations = iterations
        self.train_batch_size = train_batch_size
        self.lr = lr
        self.weight_decay = weight_decay

    def _build(self) -> Any:
        module = anomalib_module("fastflow.torch_model")
        network = self.backbone.load()
        # Made with a small network of anomalib's choice: it refuses all backbones but four.
        model = module.FastflowModel(self.input_size, "resnet18", pre_trained=False, flow_steps=1)
        shapes = [list(m.shape[1:]) for m in network.maps(torch.zeros(1, 3, *self.input_size))]
        model.feature_extractor = _Maps(network)
        model.norms = nn.ModuleList(nn.LayerNorm(shape) for shape in shapes)
        model.fast_flow_blocks = nn.ModuleList(
            module.create_fast_flow_block(shape, **self.flow) for shape in shapes
        )
        return model

    def _fit(self, train: Any, validation: Any) -> dict[str, Any]:
        loss = anomalib_module("fastflow.loss").FastflowLoss()
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, self.lr, weight_decay=self.weight_decay)
        self.model.train()
        value = torch.zeros(())
        batches = in_steps(train, self.train_batch_size, self.iterations, self.seed, self.device)
        for images in batches:
            value = loss(*self.model(self._prepare(images)))
            if not torch.isfinite(value):
                raise ValueError(f"Expected a finite loss (got {float(value)})")
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        return {"iterations": self.iterations, "final_loss": float(value.detach())}


class _Maps(nn.Module):
    """A backbone's maps as a list, as timm gives them."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = self.network.maps(images)
        return maps
