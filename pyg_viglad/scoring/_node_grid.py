"""Nodes on a grid over the teacher's map, each scored by itself."""

from collections.abc import Sequence

from torch import Tensor

from pyg_viglad.scoring._fitted import Fitted

__all__ = ["NodeGrid"]


class NodeGrid(Fitted):
    """What the scores of nodes share: a window and a stride, in cells of the teacher's map."""

    window: int
    stride: int
    mirrored: bool = False  # whether it is fitted on mirror images too

    def grid_size(self, height: int, width: int) -> tuple[int, int]:
        """Give the rows and columns of nodes on a teacher map of ``height x width`` cells."""
        rows = (height - min(self.window, height)) // self.stride + 1
        columns = (width - min(self.window, width)) // self.stride + 1
        return rows, columns

    def _count(self, batches: list[Tensor], mirrors: Sequence[list[Tensor]]) -> int:
        """Check what a scorer is fitted on and count the images; one alone has no spread."""
        images = sum(batch.size(0) for batch in batches)
        if images < 2:
            raise ValueError("Expected at least 2 training images (got fewer)")
        if self.mirrored != bool(mirrors):
            raise ValueError(
                f"Expected 'mirrors' where 'mirrored' is set and only there (got {len(mirrors)} lists)"
            )
        return images
