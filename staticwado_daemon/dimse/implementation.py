"""As which program we name ourselves, in associations and in the files that we write (PS3.7 D.3.3.2, PS3.10 7.1)."""

from typing import Final

CLASS_UID: Final = "2.25.113132172352812640209895274986908065713"
"""Implementation Class UID: made once from a random UUID (PS3.5 B.2)."""

VERSION_NAME: Final = "STATICWADO"
"""Implementation Version Name. Without a number, so that an object is the same file whichever version receives it."""
