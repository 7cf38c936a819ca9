"""What frames may be asked to be stored as: names alone, so that settings can be checked without any codec."""

from typing import Literal

ContentType = Literal[
    "htj2k",
    "jls",
    "none",
    "lei",
    "jp2",
    "jhc",
    "jpeg",
    "jls-lossy",
    "jp2-lossy",
    "jhc-lossy",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
]
"""What frames are stored as: a name of ours or of static-wado, or a Transfer Syntax UID."""

SourceCoding = Literal["uncompressed", "jp2", "jpeg", "jpeglossless", "jll", "jls", "rle", "jph", "jhc", "true", "none"]
"""What sources may be re-coded, as static-wado's `--recompress` calls them."""

Alternate = Literal["jhc", "jls", "jhcLossless", "jlsLossless"]
"""What alternate renditions are, as static-wado calls it; the first two lose something."""
