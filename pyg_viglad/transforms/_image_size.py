"""How small an image may be."""

__all__ = ["check_image_size"]


def check_image_size(height: int, width: int, name: str = "") -> None:
    """Raise ``ValueError`` for an image too small to have a single patch of 4 x 4 pixels."""
    if min(height, width) < 4:
        where = f" in '{name}'" if name else ""
        raise ValueError(
            f"Expected an image of at least 4 x 4 pixels{where} (got {height} x {width})"
        )
