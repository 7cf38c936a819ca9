"""Numbers as people say them."""

import pytest

from staticwado_daemon.units import size


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1_234, "1.23 kB"),
        (99_960, "100 kB"),
        (123_456, "123 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (67_000_000_000, "67 GB"),
        (2_500_000_000, "2.5 GB"),
        (2 * 10**12, "2 TB"),
        (9 * 10**15, "9,000 TB"),
    ],
)
def test_bytes_are_said_as_people_do(count: int, said: str) -> None:
    assert size(count) == said
