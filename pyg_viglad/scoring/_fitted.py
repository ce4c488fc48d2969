"""A module whose buffers are estimated from data instead of trained."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Fitted"]


class Fitted(nn.Module):
    """Holds estimates as buffers: saved with the model, restored at whatever size they were saved.

    Sub-classes name their estimates in ``_estimates`` and store them with :meth:`_store`; using them
    before is an error instead of a silent zero. ``_options`` are estimates that may be missing.
    """

    _estimates: tuple[str, ...] = ()
    _options: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        for name in (*self._estimates, *self._options):
            self.register_buffer(name, torch.empty(0))

    @property
    def fitted(self) -> bool:
        """Whether the estimates are there."""
        return all(self.get_buffer(name).numel() > 0 for name in self._estimates)

    def _store(self, **estimates: Tensor) -> None:
        for name, value in estimates.items():
            old = self.get_buffer(name)
            dtype = torch.float32 if value.is_floating_point() else value.dtype
            self.register_buffer(name, value.detach().to(old.device, dtype).contiguous())

    def _require_fit(self) -> None:
        if not self.fitted:
            raise ValueError(
                f"Expected fit() before use (got a {self.__class__.__name__} that is not fitted)"
            )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in self._options:  # models saved before there was the option load, too
            state_dict.setdefault(prefix + name, torch.empty(0))
        for name in (*self._estimates, *self._options):
            value = state_dict.get(prefix + name)
            if value is not None:
                old = self.get_buffer(name)
                self.register_buffer(name, torch.empty_like(value, device=old.device))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Say whether the module is fitted."""
        return "" if self.fitted else "not fitted"
