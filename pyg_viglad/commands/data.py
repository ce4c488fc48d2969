"""``pyg-viglad data``: the data sets on disk."""

from typing import Literal

from pyg_viglad.datasets import CheckRow, check_data

__all__ = ["check"]


def check(
    name: Literal["mvtec_loco", "visa", "cad_sd", "mvtec_ad"], root: str, read: bool = False
) -> list[CheckRow]:
    """Compare a data set on disk with the published one: its categories, images and masks.

    Args:
        name: The data set.
        root: Its folder, that of all categories.
        read: Also read every image and mask (minutes).

    Returns:
        One row a category.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If something is missing or differs.
    """
    rows = check_data(name, root, read)
    print(format_rows(rows))
    wrong = [row.category for row in rows if row.problems]
    if wrong:
        raise ValueError(
            f"Expected the published {name} in '{root}' (differs in {len(wrong)} of {len(rows)} "
            f"categories: {', '.join(wrong)})"
        )
    return rows


def format_rows(rows: list[CheckRow]) -> str:
    """Show numbers of images, one row a category, with what is wrong or known below."""
    fields = rows[0].expected._fields
    lines = [f"{'images':22}" + "".join(f"{field:>12}" for field in fields)]
    for row in rows:
        found = row.found or ("-",) * len(fields)
        status = "missing" if row.found is None else "differs" if row.problems else "as expected"
        lines.append(f"{row.category:22}" + "".join(f"{n:>12}" for n in found) + f"  {status}")
        if row.found is not None and row.found != row.expected:
            numbers = "".join(f"{n:>12}" for n in row.expected)
            lines.append(f"{'  published files':22}{numbers}")
        lines += [f"  ! {problem}" for problem in row.problems]
        lines += [f"  note: {row.known}"] if row.known else []
    return "\n".join(lines)
