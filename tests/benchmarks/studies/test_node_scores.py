import re

from benchmarks.studies import node_scores


def test_prints_a_line_for_every_size_and_scorer(capsys):
    options = ["--seeds", "0", "1", "--sizes", "96"]
    images = ["--images", "16", "--good", "16", "--anomalous", "24"]
    names = ["Gaussian, window 4", "neighbours, windows 2 and 4", "the same, mirrored"]
    node_scores.main([*options, *images, "--scorers", *names])
    lines = [re.sub(" +", " ", line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("| image size | A_n | disorder | flip |")
    assert [line.split(" | ")[:2] for line in lines[2:]] == [["| 96", name] for name in names]
    values = [
        [float(cell.split(" ±")[0]) for cell in line.rstrip(" |").split(" | ")[2:]]
        for line in lines[2:]
    ]
    for disorder, flip, missing, novel, logical, structural, mean in values:
        assert 50 < mean <= 100
        assert abs(mean - (logical + structural) / 2) < 0.11
        assert abs(logical - (disorder + flip) / 2) < 0.11
        assert abs(structural - (missing + novel) / 2) < 0.11
    assert values[0] != values[1]
    assert values[2][1] > values[1][1] + 2  # what is mirrored is found
