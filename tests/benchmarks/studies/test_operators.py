import pytest
from torch_geometric.nn import conv

from benchmarks.studies.operators import ARGUMENTS, CHECKS, DOCUMENT, NAMES, check
from pyg_viglad.nn import OPERATORS, make_operator

# Those that are compiled and exported here: seconds each.
COMPILED = (
    *OPERATORS,
    "FAConv",
    "GATConv",
    "GCNConv",
    "GMMConv",
    "GPSConv",
    "RGCNConv",
    "SAGEConv",
)


def read_tables():
    """Reads the tables of the document, a dictionary per operator."""
    rows, columns = {}, None
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            columns = None
        elif columns is None:
            columns = cells
        elif not cells[0].startswith(":-"):
            rows[cells[0]] = dict(zip(columns, cells, strict=True))
    return rows


TABLES = read_tables()


def test_a_row_per_operator():
    assert set(TABLES) == set(NAMES) == {*OPERATORS, "hyperedge", *conv.__all__}
    for name, row in TABLES.items():
        if "it" not in row:
            assert row["operator_kwargs"] == (f"`{ARGUMENTS[name]}`" if name in ARGUMENTS else "")
            assert float(row["ms"]) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_table_tells_what_is_compiled(name):
    slow = {"compiles", "exports"} if name not in COMPILED else set()
    found = check(name, [column for column in CHECKS if column not in slow])
    assert found == {column: TABLES[name][column] for column in found}
    assert ("it" in found) == ("it" in TABLES[name])


@pytest.mark.parametrize("name", conv.__all__)
def test_classes_work_as_names_do(name):
    kwargs = ARGUMENTS.get(name)
    if "it" in TABLES[name]:
        with pytest.raises(ValueError, match=f"got {name}: it {TABLES[name]['it'][:5]}"):
            make_operator(getattr(conv, name), 48, 96, operator_kwargs=kwargs)
    else:
        made = make_operator(getattr(conv, name), 48, 96, operator_kwargs=kwargs)
        parameters = sum(p.numel() for p in made.parameters())
        named = make_operator(name, 48, 96, operator_kwargs=kwargs)
        assert type(made.conv) is type(named.conv) is getattr(conv, name)
        assert name == "GINConv" or f"{parameters:,}" == TABLES[name]["parameters"]
