"""Vision HGNN, pyramid and isotropic."""

from typing import Any, ClassVar, Literal

from pyg_viglad.models.pyramid_vig import PyramidViG
from pyg_viglad.models.vig import ViG
from pyg_viglad.models.vision_gnn import VisionGNN

__all__ = ["PyramidViHGNN", "ViHGNN"]


class _HyperedgeBlocks(VisionGNN):
    """The arguments of both networks, which set the graph and the operator of all blocks."""

    operator_names: ClassVar[dict[str, str]] = {"": ""}

    def __init__(
        self,
        variant: Any = "ti",
        num_classes: int = 1000,
        image_size: int = 224,
        k: int = 25,
        drop_path: float = 0.0,
        *,
        seed: int | None = 0,
        padding: Literal["last"] | None = None,
    ) -> None:
        super().__init__(
            variant,
            num_classes,
            image_size,
            k,
            drop_path,
            "hyperedge",
            operator_kwargs={"padding": padding},
            graph="hypergraph",
            graph_kwargs={"seed": seed, "joint": padding == "last"},
        )
        self.config = {
            "variant": variant,
            "num_classes": num_classes,
            "image_size": image_size,
            "k": k,
            "drop_path": drop_path,
            "seed": seed,
            "padding": padding,
        }


class PyramidViHGNN(_HyperedgeBlocks, PyramidViG):
    r"""Pyramid Vision HGNN, an image classifier: :class:`PyramidViG` on hypergraphs.

    (Han et al., *Vision HGNN: An Image is More than a Graph of Nodes*, ICCV 2023). In every block the
    nodes of an image form k fuzzy clusters, its hyperedges, and
    :class:`~pyg_viglad.nn.HyperedgeConv` passes messages from the nodes to the hyperedges and back.
    There are no pooled candidates, dilations and relative positions.

    :meth:`load_reference` loads checkpoints in the layout of the public code. That code starts the
    clustering of each call from random memberships; here all calls start from the same ones.

    Args:
        variant: ``"ti"`` (10.6 M parameters), ``"s"`` (26.8 M), ``"m"`` (48.6 M) or ``"b"`` (91.3 M).
        num_classes: Number of classes; with 0, ``forward`` returns the pooled features.
        image_size: Side of the images for which the position embedding is made, divisible by 4; at
            other sizes it is interpolated.
        k: Number of hyperedges of each image in every block, lowered where a stage has fewer nodes.
        drop_path: Probability of skipping a branch of the last block in training (stochastic depth);
            it rises linearly from 0 at the first.
        seed: Seed of the clusters' first memberships; None draws random ones in each call.
        padding: With ``"last"``, means and hyperedges are those of the public code, in which the images
            of a batch influence each other: for weights that were trained so. See ``padding`` of
            :class:`~pyg_viglad.nn.HyperedgeConv` and ``joint`` of :class:`~pyg_viglad.nn.Hypergraph`.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` or a ``Batch`` with ``img``, of any size; values in
          [-1, 1], that is ``(x - 0.5) / 0.5`` of images x in [0, 1].
        - **output:** logits ``[B, num_classes]``.

    Raises:
        ValueError: If an argument is out of range, or the images have another shape.

    Example:
        >>> import torch
        >>> model = PyramidViHGNN("ti", num_classes=10).eval()
        >>> model(torch.rand(1, 3, 96, 64)).shape
        torch.Size([1, 10])
    """


class ViHGNN(_HyperedgeBlocks, ViG):
    r"""The isotropic Vision HGNN, an image classifier: :class:`ViG` on hypergraphs.

    The number of hyperedges rises linearly from k in the first block to 2 k in the last.

    Args:
        variant: ``"ti"`` (7.1 M parameters), ``"s"`` (22.4 M) or ``"b"`` (85.2 M).
        num_classes: Number of classes; with 0, ``forward`` returns the pooled features.
        image_size: Side of the images for which the position embedding is made, divisible by 16; at
            other sizes it is interpolated.
        k: Number of hyperedges of each image in the first block, lowered where it has fewer nodes.
        drop_path: See :class:`PyramidViHGNN`.
        seed: See :class:`PyramidViHGNN`.
        padding: See :class:`PyramidViHGNN`.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` or a ``Batch`` with ``img``, of any size; values in [-1, 1].
        - **output:** logits ``[B, num_classes]``.

    Raises:
        ValueError: If an argument is out of range, or the images have another shape.

    Example:
        >>> import torch
        >>> ViHGNN("ti", num_classes=10).eval()(torch.rand(1, 3, 96, 64)).shape
        torch.Size([1, 10])
    """
