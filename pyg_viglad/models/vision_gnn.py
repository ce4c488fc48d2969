"""What the published vision graph networks have in common: head, layout of checkpoints, files."""

import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.nn.inits import reset

from pyg_viglad.files import read_tensors, write_tensors
from pyg_viglad.nn import ConvViG, GroupedLinear, MaxRelativeConv, position_codes

__all__ = ["VisionGNN"]


class VisionGNN(nn.Module):
    """The base of image classifiers with the published layout of checkpoints.

    Subclasses build their layers, call :meth:`add_head` and :meth:`reset_parameters`, set ``config``, and
    define :meth:`forward_features` and :meth:`reference_names`.

    Attributes:
        config: Arguments of the constructor, which :meth:`save` writes.
        operator_names: Prefixes of a block's operator, here and in the published layout.
    """

    operator_names: ClassVar[dict[str, str]] = {"lin.": "nn.0.", "norm.": "nn.1."}
    config: dict[str, Any]

    def add_head(self, channels: int, num_classes: int) -> None:
        """Builds the classifier of pooled features; none for 0 classes."""
        if num_classes < 0:
            raise ValueError(f"Expected 'num_classes' to be at least 0 (got {num_classes})")
        self.head: nn.Module = nn.Identity()
        if num_classes:
            self.head = nn.Sequential(
                nn.Linear(channels, 1024),
                nn.BatchNorm1d(1024),
                nn.GELU(),
                nn.Linear(1024, num_classes),
            )

    def reset_parameters(self) -> None:
        """Resets all learnable parameters: Kaiming-normal weights and zero biases, as published.

        PyG's operators keep the initialisation of their own where they have no ``torch.nn.Linear``.
        """
        for part in self.children():
            reset(part)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, MaxRelativeConv | GroupedLinear):
                module = module.lin if isinstance(module, MaxRelativeConv) else module
                nn.init.normal_(module.weight, std=(2 / module.weight.size(1)) ** 0.5)
            else:
                continue
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    @abstractmethod
    def forward_features(self, images: Tensor | Batch) -> Tensor:
        """Returns the maps that leave the last block ``[B, C, H', W']``."""

    @abstractmethod
    def reference_names(self) -> Iterator[tuple[str, str]]:
        """Yields the prefixes of stem and blocks here and in the published layout."""

    def forward(self, images: Tensor | Batch) -> Tensor:
        """Computes the logits, or with ``num_classes=0`` the pooled features ``[B, C]``."""
        return self.head(self.forward_features(images).mean((2, 3)))  # type: ignore[no-any-return]

    def load_reference(self, state_dict: Mapping[str, Tensor]) -> list[str]:
        """Loads the weights of a published checkpoint.

        Tables of relative positions are compared with those that this model computes.

        Args:
            state_dict: Tensors by name, in the layout of the authors' code.

        Returns:
            The keys that hold nothing to load: the tables, and the head where this model has none.

        Raises:
            ValueError: If a key is missing or unknown, or a tensor has another shape; or if a table
                holds other values.

        Example:
            >>> from pyg_viglad.models import PyramidViG
            >>> PyramidViG("ti").load_reference({"pos_embed": torch.zeros(1, 48, 56, 56)})
            Traceback (most recent call last):
            ...
            ValueError: Expected the published layout of PyramidViG(ti, 1000): 471 keys missing (...)
        """
        prefixes, tables = self._layout()
        wrong: dict[str, list[str]] = {"missing": [], "unknown": [], "of another shape": []}
        found, used = {}, set()
        for key, own in self.state_dict().items():
            prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
            name = key if prefix is None else prefixes[prefix] + key.removeprefix(prefix)
            used.add(name)
            if name not in state_dict:
                wrong["missing"].append(name)
                continue
            value = _reshape(state_dict[name], own.shape)
            if value is None:
                shapes = f"{list(own.shape)}, got {list(state_dict[name].shape)}"
                wrong["of another shape"].append(f"{name}: {shapes}")
            else:
                found[key] = value
        ignored = []
        for name in state_dict:
            if name in used:
                continue
            ignored.append(name)
            head = name.startswith("prediction.") and isinstance(self.head, nn.Identity)
            if not head and name not in tables:
                wrong["unknown"].append(name)
        parts = [
            f"{len(names)} keys {what} ({', '.join(names[:3])}{', ...' if names[3:] else ''})"
            for what, names in wrong.items()
            if names
        ]
        if parts:
            raise ValueError(f"Expected the published layout of {self}: {'; '.join(parts)}")
        for name in tables.keys() & state_dict.keys():
            _check_table(name, state_dict[name], tables[name])
        self.load_state_dict(found)
        return ignored

    def _layout(self) -> tuple[dict[str, str], dict[str, ConvViG]]:
        """Returns published prefixes by own ones, and blocks by the keys of their tables."""
        block_names = {
            "fc_in.": "0.fc1.",
            **{f"conv.{a}": f"0.graph_conv.gconv.{b}" for a, b in self.operator_names.items()},
            "fc_out.": "0.fc2.",
            **{f"ffn.{own}.": f"1.{other}." for own, other in _FFN_NAMES.items()},
        }
        prefixes = {f"head.{number}.": f"prediction.{place}." for number, place in _HEAD_NAMES}
        tables = {}
        for own, other in self.reference_names():
            block = self.get_submodule(own[:-1]) if own.endswith(".") else None
            if isinstance(block, ConvViG):
                prefixes |= {own + a: other + b for a, b in block_names.items()}
                tables[f"{other}0.relative_pos"] = block
            else:
                prefixes[own] = other
        return prefixes, tables

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights and arguments to one ``.safetensors`` file, which :meth:`from_file` reads.

        Raises:
            ValueError: If the file's name ends otherwise, or the model has a custom operator or graph
                builder, which a file cannot hold.
        """
        try:
            text = json.dumps(self.config)
        except TypeError as error:
            raise ValueError(f"Expected operator and graph by name to save ({error})") from error
        write_tensors(path, self.state_dict(), {"model": type(self).__name__, "config": text})

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Loads a model that was saved by :meth:`save`, in evaluation mode.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds another model.

        Example:
            >>> import tempfile
            >>> from pyg_viglad.models import PyramidViG
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     PyramidViG("ti", num_classes=10).save(f"{folder}/model.safetensors")
            ...     PyramidViG.from_file(f"{folder}/model.safetensors")
            PyramidViG(ti, 10)
        """
        state, metadata = read_tensors(path)
        if metadata.get("model") != cls.__name__:
            raise ValueError(
                f"Expected a saved {cls.__name__} in '{path}' (got {metadata.get('model')})"
            )
        try:
            model = cls(**json.loads(metadata["config"]))
            model.load_state_dict(state)
        except (KeyError, RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(
                f"Expected weights and options that fit in '{path}' ({reason})"
            ) from error
        return model.eval()

    def __repr__(self) -> str:
        parts = [str(self.config[name]) for name in ("variant", "num_classes")]
        parts += [
            f"{name}={self.config[name]}"
            for name, usual in (("operator", "max_relative"), ("graph", "knn"))
            if self.config.get(name, usual) != usual
        ]
        return f"{type(self).__name__}({', '.join(parts)})"


_FFN_NAMES = {"0": "fc1.0", "1": "fc1.1", "3": "fc2.0", "4": "fc2.1"}
_HEAD_NAMES = ((0, 0), (1, 1), (3, 4))


def _reshape(value: Tensor, shape: torch.Size) -> Tensor | None:
    """Returns kernels of 1 x 1 as matrices, in groups as ``[groups, in, out]``; None if they do not fit."""
    if value.shape == shape:
        return value
    if value.dim() != 4 or value.shape[2:] != (1, 1):
        return None
    value = value.flatten(1)
    if len(shape) == 3 and value.shape == (shape[0] * shape[2], shape[1]):
        value = value.unflatten(0, (shape[0], shape[2])).transpose(1, 2)
    return value if value.shape == shape else None


def _check_table(name: str, value: Tensor, block: ConvViG) -> None:
    """Compares a table of relative positions with the factors that replace it."""
    if block.relative_position is None:
        return
    own, others = position_codes(
        block.channels, block.relative_position, block.reduce_ratio, dtype=torch.float64
    )
    table = -2 * own @ others.t()
    if value.squeeze(0).shape != table.shape:
        raise ValueError(f"Expected '{name}' to be {[1, *table.shape]} (got {list(value.shape)})")
    difference = (value.squeeze(0).to(table) - table).abs().max().item()
    if not difference < 1e-2:  # bfloat16 passes
        raise ValueError(
            f"Expected '{name}' to hold sine-cosine positions (differs by {difference:.2g})"
        )
