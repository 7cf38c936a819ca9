"""Value representations of elements that don't say theirs: implicit VR, and UN.

pydicom supplies the dictionaries (PS3.6, and what is known of the vendors'). PS3.5 section 6.2.2
allows a reader that knows better to take an explicit UN for what the dictionary says.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import orjson
from pydicom.datadict import dictionary_VR, private_dictionary_VR

_ONE_ENTRY: Final = 2  # bytes of lookup table data that is one number (US) and not words (OW)


def is_private(tag: int) -> bool:
    """Return whether the tag's group is odd."""
    return bool(tag >> 16 & 1)


def private_creator_tag(tag: int) -> str:
    """Return the tag ("00190010") of the element that reserves the block of private element `tag`."""
    return f"{tag & 0xFFFF0000 | tag >> 8 & 0xFF:08X}"


def private_creator(tag: int, fragments: Mapping[str, bytes]) -> str:
    """Return who reserved the block of private element `tag`, "" if nobody did.

    Args:
        tag: group and element as one number.
        fragments: JSON attributes of the same data set or item, as far as `tag` at least.
    """
    fragment = fragments.get(private_creator_tag(tag))
    creator = orjson.loads(fragment).get("Value", [""])[0] if fragment else ""
    return creator if isinstance(creator, str) else ""


def value_representation(tag: int, creator: str, length: int, pixel_representation: int) -> str:
    """Return the VR that the dictionaries know for an element, "UN" if they don't.

    Args:
        tag: group and element as one number.
        creator: private creator of the element's block, "" if there is none.
        length: bytes of the value; decides whether lookup table data is one number or words.
        pixel_representation: (0028,0103) in force; 1 makes "US or SS" an SS.
    """
    vr = _dictionary(tag, creator)
    if vr == "US or SS":
        return "SS" if pixel_representation == 1 else "US"
    if vr in ("US or OW", "US or SS or OW"):
        return "US" if length == _ONE_ENTRY else "OW"
    # "OB or OW" is always OW in implicit VR (PS3.5 section A.1), where the question arises.
    return "OW" if vr in ("OB or OW", "OB_OW") else vr


@lru_cache(maxsize=4096)
def _dictionary(tag: int, creator: str) -> str:
    if is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"  # a private creator itself (PS3.5 section 7.8.1)
    try:
        return str(private_dictionary_VR(tag, creator) if is_private(tag) else dictionary_VR(tag))
    except KeyError:
        return "UN"
