"""Which images of a data set are looked at, where not all are."""


def spread_evenly(total: int, count: int | None) -> list[int]:
    """``count`` positions from 0 to ``total`` - 1, or all: data sets are often sorted, and their start is no sample."""
    return list(range(total)) if count is None or count >= total else [i * total // count for i in range(count)]
