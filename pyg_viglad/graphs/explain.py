"""Explanations of a node's reconstruction error: which edges and neighbours it depends on."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from itertools import chain
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.data import Data
from torch_geometric.explain import (
    CaptumExplainer,
    Explainer,
    ExplainerAlgorithm,
    Explanation,
    GNNExplainer,
)
from torch_geometric.explain.config import MaskType, ModelMode
from torch_geometric.nn import MessagePassing

from pyg_viglad.graphs.patches import node_at, position_of
from pyg_viglad.models import ViGAutoEncoder, ViGLAD
from pyg_viglad.models.vig_autoencoder import evaluation_mode
from pyg_viglad.nn import to_maps
from pyg_viglad.scoring import anomaly_map, peak
from pyg_viglad.transforms import ImageLike, patch_centers, to_batch, to_image

__all__ = ["EdgeOcclusion", "explain_node", "explained_neighbors"]

Algorithm = Literal["gnn_explainer", "occlusion", "captum"]
Target = Literal["student", "teacher"]

# For an error of 1 and a mean over any number of edges; PyG's are for sums over small graphs.
_COEFFICIENTS = {"edge_size": 0.01, "edge_reduction": "mean", "edge_ent": 0.01}


def explain_node(
    model: ViGLAD | ViGAutoEncoder,
    image: ImageLike | Data,
    node: int | tuple[float, float] | None = None,
    *,
    block: str | None = None,
    target: Target | Tensor = "student",
    algorithm: Algorithm | ExplainerAlgorithm = "gnn_explainer",
    epochs: int = 100,
    node_mask_type: str | None = None,
    seed: int = 0,
) -> Explanation:
    r"""Explains the reconstruction error of a node by the edges of one block's graph.

    The error of the node :math:`i` is its value in the global map before calibration,

    .. math:: e_i = \frac{1}{C} \| A_g(\mathcal{G})_i - S'(I)_i \|^2 .

    The graphs of all blocks are frozen as the network built them for this image, so that the error
    explained is the one that the network made. The explained graph alone is changed: an edge of weight 0
    passes no message. With ``dynamic=False``, blocks that share the graph lose the edge together.

    The blocks differ. As the autoencoder has no skip connections, whatever the encoder's edges add to a node
    passes the few nodes between encoder and decoder, and hardly changes the error of a single node. The edges
    of the decoder's last two blocks change it most; the last one is the default. Where the block's grid is
    coarser than that of the output, its node is the one whose patch contains the explained node.

    The model itself is not changed; a copy of the autoencoder is explained, in evaluation mode.

    Args:
        model: A detector, or a graph autoencoder alone, which needs a tensor as ``target``.
        image: An image of any kind that :func:`~pyg_viglad.transforms.to_image` reads; for an autoencoder
            alone a tensor ``[3, H, W]``, prepared as it was trained.
        node: A node's number in the grid of the output (that of the ``"input"`` graph of
            :func:`~pyg_viglad.graphs.record_graphs`), or a position (x, y) in pixels of the image.
            Default: the node with the largest error.
        block: The block whose graph is explained: ``"encoder.0"`` (also ``"input"``) to ``"encoder.11"``
            or ``"decoder.0"`` to ``"decoder.11"``. Default: the last one of the decoder.
        target: What is to be reconstructed: ``"student"``, the student's second half, as in the global
            map; ``"teacher"``, the teacher's features; or a tensor ``[C, H / 4, W / 4]``.
        algorithm: ``"gnn_explainer"`` learns a weight for every edge such that few edges keep the error
            (:class:`~torch_geometric.explain.GNNExplainer`, on the error relative to what it is);
            ``"occlusion"`` removes each edge to the node in turn (:class:`EdgeOcclusion`, of which an
            instance without arguments removes those to other nodes, too);
            ``"captum"`` computes integrated gradients of the weights
            (:class:`~torch_geometric.explain.CaptumExplainer`; needs Captum); or an algorithm of PyG.
        epochs: Steps of ``"gnn_explainer"`` (default: 100).
        node_mask_type: Also weight the features ``x``: ``"object"`` (per node), ``"attributes"`` or
            ``"common_attributes"``, where the algorithm does; default None.
        seed: Seed of the algorithm's random numbers (default: 0). The global generator keeps its state.

    Returns:
        PyG's ``Explanation``, which is also a patch graph that all figures draw:

        - ``edge_index`` ``[2, E]`` of the block, and its input ``x`` ``[N, C]``;
        - ``edge_mask`` ``[E]``: weights in [0, 1]. Of ``"gnn_explainer"``, how much the error depends on the
          edge; of ``"occlusion"`` and ``"captum"``, ``edge_effect`` divided by its maximum, 0 where negative;
        - ``edge_effect`` ``[E]``, of these two alone: the part of the error that is due to the edge, such as
          0.1 if the error is 10 % smaller without it, negative if it is larger without it;
        - ``node_mask`` where asked for;
        - ``center``, the explained node's number in this graph, ``index`` ``[1]``, in the output;
        - ``error`` ``[]``, the node's, and ``prediction``, those of all nodes of the output;
        - ``block``; ``pos`` in pixels of the image, ``grid_size`` and ``img_size``.

    Raises:
        ValueError: If an argument is none of the above, the model has no graph autoencoder, the block works
            on hyperedges, or its operator has no messages to weight.
        FileNotFoundError: If the image file does not exist.
        ImportError: If Captum is missing.

    Example:
        >>> model = ViGLAD("small", image_size=96)
        >>> explanation = explain_node(model, torch.rand(3, 120, 120), (60, 60), algorithm="occlusion")
        >>> neighbors, weights = explained_neighbors(explanation)
        >>> explanation.block, neighbors.shape, weights.shape
        ('decoder.11', torch.Size([11]), torch.Size([11]))
    """
    if isinstance(algorithm, str) and algorithm not in get_args(Algorithm):
        known = ", ".join(get_args(Algorithm))
        raise ValueError(f"Expected 'algorithm' to be {known} or one of PyG (got {algorithm!r})")
    if algorithm == "captum" and find_spec("captum") is None:
        raise ImportError("Expected Captum for algorithm='captum': pip install captum")
    if epochs < 1:
        raise ValueError(f"Expected 'epochs' to be at least 1 (got {epochs})")
    device = next(model.parameters()).device
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        autoencoder, images, features, size = _inputs(model, image, target, device)
        frozen = _FrozenErrors(autoencoder, images, features, block)
        cells = _grid(frozen.grid_size, size, images.device)
        index = int(peak(frozen.errors.view(1, *frozen.grid_size)))
        if node is not None:
            index = node_at(cells, position_of(cells, node))
        error = frozen.errors[index]
        # Relative to the error, the terms of the algorithms' losses do not depend on its size.
        frozen.scale = error.clamp(min=torch.finfo(error.dtype).tiny)
        explained = _grid(frozen.first.grid_size, size, images.device)
        center = node_at(explained, position_of(cells, index))
        x, edge_index = frozen.first.x, _plain(frozen.first.edge_index)
        if algorithm == "gnn_explainer":
            algorithm = GNNExplainer(epochs, lr=0.1, **_COEFFICIENTS)
        elif algorithm == "captum":
            algorithm = CaptumExplainer("IntegratedGradients")
        elif algorithm == "occlusion":
            algorithm = EdgeOcclusion(_edges_to(edge_index, center))
        if not isinstance(algorithm, EdgeOcclusion):
            frozen.check_operator()
        explainer = Explainer(
            frozen,
            algorithm,
            explanation_type="model",
            edge_mask_type="object",
            node_mask_type=node_mask_type,
            model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
        )
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            explanation: Explanation = explainer(x, edge_index, index=index)
    explanation.apply(Tensor.detach)  # Captum's weights have a gradient
    if isinstance(algorithm, EdgeOcclusion | CaptumExplainer):
        explanation.edge_effect = explanation.edge_mask
        raising = explanation.edge_effect.clamp(min=0)
        explanation.edge_mask = raising / raising.max().clamp(min=torch.finfo(raising.dtype).tiny)
    del explanation.target  # equals the prediction
    explanation.prediction = frozen.errors
    explanation.error = error
    explanation.center = center
    explanation.block = frozen.name
    for key, value in explained.items():
        explanation[key] = value
    return explanation


def explained_neighbors(explanation: Data, node: int | None = None) -> tuple[Tensor, Tensor]:
    """Returns the neighbours of a node, those of the largest weight first, and the weights of their edges.

    The node itself is left out; of equal weights, the first edge comes first.

    Args:
        explanation: An explanation with ``edge_index`` and ``edge_mask``, as :func:`explain_node` returns it.
        node: The centre; default ``explanation.center``.

    Returns:
        Numbers of the neighbours ``[k]``, and weights ``[k]``.

    Example:
        >>> edge_index = torch.tensor([[0, 1, 2, 1], [0, 0, 0, 1]])
        >>> weights = torch.tensor([0.9, 0.2, 0.5, 1.0])
        >>> explained_neighbors(Explanation(edge_index=edge_index, edge_mask=weights), 0)
        (tensor([2, 1]), tensor([0.5000, 0.2000]))
    """
    node = explanation.center if node is None else node
    edges, weights = _plain(explanation.edge_index), explanation.edge_mask
    own = _edges_to(edges, node)
    order = own[weights[own].argsort(descending=True, stable=True)]
    return edges[0, order], weights[order]


def _edges_to(edge_index: Tensor, node: int) -> Tensor:
    """Returns the numbers of the edges that end in a node, without its self-loop."""
    return ((edge_index[1] == node) & (edge_index[0] != node)).nonzero()[:, 0]


def _plain(edge_index: Tensor) -> Tensor:
    plain: Tensor = edge_index.as_tensor() if isinstance(edge_index, EdgeIndex) else edge_index
    return plain


def _grid(grid_size: tuple[int, int], size: tuple[int, int], device: torch.device) -> Data:
    """Returns the patches of an image of ``size`` pixels."""
    return Data(
        pos=patch_centers(grid_size, size, device),
        grid_size=torch.tensor([grid_size]),
        img_size=torch.tensor([size]),
    )


class EdgeOcclusion(ExplainerAlgorithm):  # type: ignore[misc]
    r"""Removes one edge after the other and measures how much the output falls.

    .. math:: w_e = f(x, \mathcal{E}) - f(x, \mathcal{E} \setminus \{e\})

    Exact for single edges and for every operator, as the edge is removed and not its message multiplied by
    0; blind to edges that replace each other. It runs the model once per edge. Weights have a sign: above 0,
    the edge raises the output.

    Args:
        edges: Numbers of the edges to remove ``[n]``; all others get the weight 0. Default: all edges.

    Example:
        >>> from torch_geometric.nn import SimpleConv
        >>> explainer = Explainer(
        ...     SimpleConv(),
        ...     EdgeOcclusion(),
        ...     explanation_type="model",
        ...     edge_mask_type="object",
        ...     model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
        ... )
        >>> x, edge_index = torch.tensor([[1.0], [5.0]]), torch.tensor([[0, 1, 1], [0, 0, 1]])
        >>> explainer(x, edge_index, index=0).edge_mask
        tensor([1., 5., 0.])
    """

    def __init__(self, edges: Tensor | None = None) -> None:
        super().__init__()
        self.edges = edges

    @torch.no_grad()
    def forward(
        self,
        model: nn.Module,
        x: Tensor,
        edge_index: Tensor,
        *,
        target: Tensor,
        index: int | Tensor | None = None,
        **kwargs: Any,
    ) -> Explanation:
        """Returns the explanation; further arguments of the model must not be per edge."""

        def output(edges: Tensor) -> Tensor:
            out: Tensor = model(x, edges, **kwargs)
            return (out if index is None else out[index]).sum()

        count = edge_index.size(1)
        numbers = torch.arange(count) if self.edges is None else self.edges
        weights, whole = x.new_zeros(count), output(edge_index)
        for number in numbers.tolist():
            rest = torch.cat([edge_index[:, :number], edge_index[:, number + 1 :]], dim=1)
            weights[number] = whole - output(rest)
        return Explanation(edge_mask=weights)

    def supports(self) -> bool:
        """Returns whether edges alone are asked for, of a model with real outputs."""
        config = self.explainer_config
        return (
            config.node_mask_type is None
            and config.edge_mask_type == MaskType.object
            and self.model_config.mode == ModelMode.regression
        )


class _FrozenBlock(nn.Module):
    """Records input, graph and output of a block in its first run, and reuses the graph in later runs.

    With ``given``, it runs on these features; with ``skipped``, it repeats its output.
    """

    graph = None  # edges may be missing: no number of neighbours is promised

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.skipped = False
        self.given: Tensor | None = None
        self.x: Any = None
        self.edge_index: Any = None
        self.grid_size = (0, 0)
        self.output: Any = None

    def forward(self, x: Tensor, edge_index: Any, **kwargs: Any) -> Any:
        if self.output is None:
            self.output = self.block(x, edge_index, **kwargs)
            self.x, self.edge_index, self.grid_size = x, self.output[1], kwargs["grid_size"]
        elif not self.skipped:
            return self.block(x if self.given is None else self.given, self.edge_index, **kwargs)
        return self.output


class _FrozenErrors(nn.Module):
    """Computes the error of every output node from the features and edges that enter one block."""

    def __init__(
        self, autoencoder: ViGAutoEncoder, images: Tensor, target: Tensor, block: str | None
    ) -> None:
        super().__init__()
        self.autoencoder: Any = copy.deepcopy(autoencoder).eval().requires_grad_(False)
        self.target = target
        self.scale: Tensor | float = 1.0
        blocks: dict[str, _FrozenBlock] = {}
        for part in ("encoder", "decoder"):
            stages = getattr(self.autoencoder, part)
            for stage in stages:
                for place, original in enumerate(stage):
                    stage[place] = _FrozenBlock(original)
            blocks |= {f"{part}.{n}": b for n, b in enumerate(chain.from_iterable(stages))}
        names = list(blocks)
        name = {None: names[-1], "input": names[0]}.get(block, block)
        if name not in blocks:
            raise ValueError(
                f"Expected 'block' to be a block from '{names[0]}' to '{names[-1]}' (got {block!r})"
            )
        with torch.no_grad():
            constructor = self.autoencoder.constructor
            self.nodes, self.grid_size = constructor.embed(images)
            self.edge_index = constructor.connect(self.nodes, 1, self.grid_size)
            self.errors = self._errors()
        edges = blocks[name].edge_index
        if not isinstance(edges, Tensor):
            raise ValueError(f"Expected a graph of edges in '{name}' (got {type(edges).__name__})")
        self.weighted = [b for b in blocks.values() if b.edge_index is edges]
        self.first = self.weighted[0]
        self.name = next(name for name, b in blocks.items() if b is self.first)
        for name in names[: names.index(self.name)]:
            blocks[name].skipped = True
        for frozen in blocks.values():
            for module in frozen.modules():
                if isinstance(module, MessagePassing):
                    module.explain = None if frozen in self.weighted else False

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the errors ``[N]``, in units of ``scale``."""
        self.first.given = x
        for frozen in self.weighted:
            frozen.edge_index = edge_index
        return self._errors() / self.scale

    def _errors(self) -> Tensor:
        x = self.autoencoder.reconstruct(self.nodes, self.edge_index, self.grid_size)
        maps = self.autoencoder.projection(to_maps(x, self.grid_size))
        errors: Tensor = anomaly_map(maps, self.target)
        return errors.flatten()

    def check_operator(self) -> None:
        """Raises an error if there are no messages to multiply with weights."""
        for frozen in self.weighted:
            if not any(isinstance(module, MessagePassing) for module in frozen.modules()):
                raise ValueError(
                    "Expected an operator of PyG's MessagePassing; for others, "
                    f"algorithm='occlusion' (got {type(frozen.block.conv).__name__})"
                )


def _inputs(
    model: ViGLAD | ViGAutoEncoder,
    image: ImageLike | Data,
    target: Target | Tensor,
    device: torch.device,
) -> tuple[ViGAutoEncoder, Tensor, Tensor, tuple[int, int]]:
    """Returns the autoencoder, its images, what it is to reconstruct, and the original image's size."""
    if isinstance(target, str) and target not in get_args(Target):
        raise ValueError(f"Expected 'target' to be student, teacher or a tensor (got {target!r})")
    if isinstance(model, ViGAutoEncoder):
        if isinstance(target, str):
            raise ValueError(
                f"Expected a tensor as 'target' for an autoencoder alone (got {target!r})"
            )
        # Not checked to lie in [0, 1]: the caller has prepared it.
        picture = image if isinstance(image, Tensor) else to_image(image)
        autoencoder, images = model, to_batch(picture[None].to(device), normalized=True)
    elif not isinstance(model, ViGLAD):
        raise ValueError(f"Expected a ViGLAD or a ViGAutoEncoder (got {type(model).__name__})")
    elif not isinstance(model.autoencoder, ViGAutoEncoder):
        kind = type(model.autoencoder).__name__
        raise ValueError(f"Expected a ViGAutoEncoder to explain (got {kind})")
    else:
        picture = to_image(image)
        normal = model.normalize(to_batch(picture[None], model.image_size).to(device))
        autoencoder, images = model.autoencoder, model.graph_images(normal)
        if isinstance(target, str):
            with torch.no_grad(), evaluation_mode(model):
                target = (
                    model.target_features(normal)
                    if target == "teacher"
                    else model.student_features(normal, "student_second")
                )
    features = target.detach().to(device)
    features = features[None] if features.dim() == 3 else features
    return autoencoder, images, features, (picture.size(-2), picture.size(-1))
