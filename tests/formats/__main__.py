"""`python -m tests.formats`: write docs/formats.md as it is now."""

import tempfile
from pathlib import Path

from tests.formats.judgement import judge
from tests.formats.page import PAGE, page


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        PAGE.write_text(page(list(judge(Path(directory)))), encoding="utf-8")


if __name__ == "__main__":
    main()
