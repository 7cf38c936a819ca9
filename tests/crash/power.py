"""A model of what is on a disk when the power goes: what was synced, and of the rest as much as chance wants."""

import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypeAlias

from tests.crash.disks import Call

Directory: TypeAlias = dict[str, "Directory | bytes"]


def load(path: Path) -> Directory:
    """What a directory holds; nothing if there is none."""
    found = path.iterdir() if path.is_dir() else []
    return {each.name: load(each) if each.is_dir() else each.read_bytes() for each in found}


def write(directory: Directory, path: Path) -> None:
    """Make a directory that holds this."""
    path.mkdir()
    for name, held in directory.items():
        if isinstance(held, bytes):
            (path / name).write_bytes(held)
        else:
            write(held, path / name)


def files(directory: Directory, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Every file below a directory, with its bytes."""
    for name, held in directory.items():
        if isinstance(held, bytes):
            yield prefix + name, held
        else:
            yield from files(held, f"{prefix}{name}/")


def after_power_cut(before: Directory, calls: Sequence[Call], top: Path, chance: random.Random) -> Directory:
    """What is found after a power cut that came after these calls.

    What was done before the last sync is there. Of what followed a journalling file system keeps the names as they
    were at some moment, any other one some names and some not; in both the contents may be short or absent.

    Args:
        before: what was there before the first call; it stays as it is.
        calls: done so far.
        top: the directory of which `before` is the content.
        chance: decides.
    """
    found = deepcopy(before)
    synced = 1 + max((place for place, call in enumerate(calls) if call.name == "syncfs"), default=-1)
    for call in calls[:synced]:
        apply(found, call, top, call.data)
    late = calls[synced:]
    in_order = chance.random() < 0.5
    kept = chance.randint(0, len(late)) if in_order else len(late)
    share = 1.0 if in_order else chance.random()
    losses = chance.random()
    for call in late[:kept]:
        if chance.random() <= share:
            lost = chance.random() < losses
            apply(found, call, top, call.data[: chance.choice((0, len(call.data) // 2))] if lost else call.data)
    return found


def after_lost_writes(before: Directory, calls: Sequence[Call], failed: int, top: Path) -> Directory:
    """What is really on the disk when the content of all that was written between two syncs is lost.

    Args:
        before: what was there before the first call; it stays as it is.
        calls: done in all.
        failed: how many of them came before the second sync, which failed.
        top: the directory of which `before` is the content.
    """
    found = deepcopy(before)
    synced = max((place for place, call in enumerate(calls[:failed]) if call.name == "syncfs"), default=-1)
    for place, call in enumerate(calls):
        apply(found, call, top, b"" if synced < place < failed else call.data)
    return found


def apply(found: Directory, call: Call, top: Path, data: bytes) -> None:
    """Do to the model what a call does; one that can't be done because another was lost is lost with it."""
    if call.name in ("syncfs", "utime"):
        return
    places = [_place(found, path.relative_to(top).parts) for path in call.paths]
    if any(place is None for place in places):
        return
    (holder, name), *others = [place for place in places if place]
    if call.name == "write":
        holder[name] = data
    elif call.name == "mkdir":
        holder.setdefault(name, {})
    elif call.name in ("unlink", "remove_tree"):
        holder.pop(name, None)
    elif others:
        _move(call.name, holder, name, *others[0])


def _move(how: str, holder: Directory, name: str, target: Directory, new: str) -> None:
    moved, replaced = holder.get(name), target.get(new)
    if moved is None:
        return
    if how == "exchange":
        if replaced is not None:
            holder[name], target[new] = replaced, moved
    elif not replaced or (isinstance(replaced, bytes) and isinstance(moved, bytes)):
        del holder[name]
        target[new] = moved


def _place(found: Directory, parts: Sequence[str]) -> tuple[Directory, str] | None:
    """The directory that a path is in and its name there; None if there is no such directory."""
    for part in parts[:-1]:
        inner = found.get(part)
        if not isinstance(inner, dict):
            return None
        found = inner
    return found, parts[-1]
