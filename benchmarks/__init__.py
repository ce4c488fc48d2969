"""All that measures and compares: grids of detectors, speed, and studies; not part of the wheel."""
