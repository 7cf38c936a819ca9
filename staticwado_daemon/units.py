"""Numbers as people say them."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(count: float) -> str:
    """Bytes in the decimal units of disks, to three digits: `512 B`, `1.2 MB`, `123 GB`."""
    value, unit = float(count), _UNITS[0]
    for larger in _UNITS[1:]:
        if round(value) < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}" if value < 100 else f"{value:,.0f} {unit}"
