import pytest
import torch

from pyg_viglad import ViGAutoEncoder
from pyg_viglad.visualization import select_graphs


@pytest.mark.parametrize(
    ("side", "name", "grid"),
    [(224, "encoder", 4), (96, "encoder block 10", 6), (64, "encoder block 10", 4)],
)
def test_deepest_encoder_graph_that_chooses(side, name, grid):
    model = ViGAutoEncoder(8, image_size=side, k=9).eval()
    graphs = model.graphs(torch.rand(2, 3, side, side), blocks=True)
    chosen = select_graphs(graphs)
    assert list(chosen) == ["input", name, "decoder"]
    assert chosen[name].grid_size[0].tolist() == [grid, grid]
    assert chosen["input"] is graphs["input"]


def test_without_blocks_the_output_stays():
    graphs = ViGAutoEncoder(8, image_size=64).eval().graphs(torch.rand(1, 3, 64, 64))
    assert list(select_graphs(graphs)) == ["input", "encoder", "decoder"]


def test_missing_graph():
    with pytest.raises(ValueError, match="got no 'encoder'"):
        select_graphs({"input": None})
