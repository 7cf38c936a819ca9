"""Who else may read the tree: the headers by which browsers let web pages of other hosts do so (CORS)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from staticwado_daemon.archive.routes import METHODS
from staticwado_daemon.errors import ConfigError

_ORIGIN = r"\*|(?!http:.*:80$|https:.*:443$)https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
"""As browsers write it: in lower case, without the usual port and without a path."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """The headers by which web pages of other hosts may read the tree (CORS).

    Attributes:
        answer: on every answer below `PREFIX`, in place of those in `COMMON_HEADERS`.
        preflight: in addition on the answer to OPTIONS, a 204.
    """

    answer: Mapping[str, str]
    preflight: Mapping[str, str]

    @classmethod
    def with_origin(cls, origin: str | None) -> Self:
        """Share the tree with pages of one origin such as https://viewer.example, with all ("*") or with none (None).

        Raises:
            ConfigError: if `origin` is anything else.
        """
        if origin is None:
            return cls({}, {})
        if not re.fullmatch(_ORIGIN, origin):
            raise ConfigError(
                f"{origin!r} isn't an origin: say * or one as browsers write it, such as https://viewer.example"
            )
        answer = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "Content-Length, Content-Range, Content-Encoding, Accept-Ranges, ETag",
            "Cross-Origin-Resource-Policy": "cross-origin",  # a thumbnail in a page isn't asked for with CORS
        }
        preflight = {
            "Access-Control-Allow-Methods": ", ".join(METHODS),
            "Access-Control-Allow-Headers": (
                "Accept, Authorization, Content-Type, If-None-Match, If-Modified-Since, Range"
            ),
            "Access-Control-Max-Age": "86400",
        }
        return cls(answer, preflight)
