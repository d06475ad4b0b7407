"""Damage to valid files as Hypothesis strategies: bytes, TOML lines, JSON values and HDF5 objects."""

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  writes over compressed datasets
import numpy as np
from hypothesis import strategies as st

ODD_BYTES = [b"\0", b"\xff", b"\0" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\n"]
ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e300, 1e-300, 5e-324),
    *("", "x", "1", "nan", "\0", "\x1b[2J", "é" * 10, "x" * 5000, [], [1], [[]], [[[]]], {}, {"a": 1}, [None]),
]
ODD_TOML = [
    *("0", "-1", "nan", "inf", "-inf", "1e400", "1e-320", "1e300", "9" * 40, "0x10", "true", '""', '"x"', "[]", "{}"),
    *("[1.0]", "[[0, 0]]", "[0.0, 0.5, 1.0]", "1979-05-27", '"\\u0000"', "0.1", "1000000", "16384", "16385", "2.5"),
]


@st.composite
def damaged_bytes(draw: st.DrawFn, original: bytes, most: int = 4) -> bytes:
    """Some of: bits flipped, spans overwritten, removed, repeated, moved; the end cut off."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, most))):
        if not content:
            break
        # Headers are where damage matters most.
        at = draw(st.integers(0, len(content) - 1) | st.integers(0, min(len(content), 600) - 1))
        span = draw(st.integers(1, 64))
        match draw(st.integers(0, 6)):
            case 0:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                content[at : at + span] = draw(st.binary(min_size=1, max_size=64))
            case 2:
                odd = draw(st.sampled_from(ODD_BYTES))
                content[at : at + len(odd)] = odd
            case 3:
                del content[at : at + span]
            case 4:
                content[at:at] = content[at : at + span] * draw(st.integers(1, 8))
            case 5:
                to = draw(st.integers(0, len(content) - 1))
                content[to : to + span] = content[at : at + span]
            case _:
                del content[at:]
    return bytes(content)


@st.composite
def damaged_toml(draw: st.DrawFn, original: str) -> bytes:
    """Lines removed, repeated or moved, values and keys replaced; sometimes also damaged bytes."""
    lines = original.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        key, equals, value = lines[at].partition(" = ")
        other = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 6)):
            case 0:
                lines[at] = ""
            case 1:
                lines.insert(other, lines[at])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case 3 if equals:
                lines[at] = f"{draw(st.sampled_from(['x', 'fx', 'delay_us', 'phase', 'kind']))} = {value}"
            case 4 if equals:
                number = draw(st.floats(width=64) | st.integers(-(2**70), 2**70))
                lines[at] = f"{key} = {number}"
            case _ if equals:
                lines[at] = f"{key} = {draw(st.sampled_from(ODD_TOML))}"
            case _:
                lines[at] = lines[at].swapcase()
    text = "\n".join(lines).encode()
    return draw(damaged_bytes(text, 2)) if draw(st.integers(0, 4)) == 0 else text


@st.composite
def damaged_json(draw: st.DrawFn, original: bytes) -> bytes:
    """Values replaced, removed or copied elsewhere; sometimes also damaged bytes."""
    value = json.loads(original)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value))
        holder, key = draw(st.sampled_from(places))
        match draw(st.integers(0, 4)):
            case 0:
                del holder[key]
            case 1:
                other, from_ = draw(st.sampled_from(places))
                holder[key] = copy.deepcopy(other[from_])
            case _:
                # A copy, since it may be damaged in turn.
                odd = draw(st.sampled_from(ODD_VALUES) | st.integers() | st.floats() | st.text(max_size=20))
                holder[key] = copy.deepcopy(odd)
        if not list(_places(value)):
            break
    text = json.dumps(value).encode()
    return draw(damaged_bytes(text, 2)) if draw(st.integers(0, 4)) == 0 else text


def _places(value: Any) -> Any:
    """Replaceable places: containers and their keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


@st.composite
def spoiled_objects(draw: st.DrawFn, names: list[str], attributes: list[str]) -> list[tuple[str, str, Any]]:
    """Steps for `spoil`: changes of some datasets and attributes of an HDF5 file."""
    steps = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["remove", "replace", "group", "link", "reshape", "attribute", "no attribute"]))
        name = draw(st.sampled_from(attributes if "attribute" in kind else names))
        array = st.builds(
            lambda shape, dtype, seed: np.random.default_rng(seed).uniform(-1e5, 1e5, shape).astype(dtype),
            st.lists(st.integers(0, 5), max_size=4).map(tuple),
            st.sampled_from(["f4", "f8", "i1", "u1", "i8", "u4", "i2", "?", "c8"]),
            st.integers(0, 100),
        )
        steps.append((kind, name, draw(array | st.sampled_from([3, -1, 1.5, "text", b"bytes", 2**40, "\x1b[2J"]))))
    return steps


def spoil(path: Path, steps: list[tuple[str, str, Any]]) -> None:
    """Apply the steps to a file; those made impossible by earlier ones are skipped."""
    with np.errstate(all="ignore"), h5py.File(path, "r+") as file:
        for step in steps:
            with suppress(KeyError, ValueError, RuntimeError, OSError, TypeError):
                _spoil(file, *step)


def _spoil(file: h5py.File, kind: str, name: str, value: Any) -> None:
    if "attribute" in kind:
        file.attrs.pop(name, None)
        if kind == "attribute":
            file.attrs[name] = value
        return
    if kind == "reshape":
        found = file[name]
        if not isinstance(found, h5py.Dataset):
            return
        flat = np.ravel(found[()])
        value = flat[: max(1, len(flat) // 2)]
    if name in file:
        del file[name]
    if kind in ("replace", "reshape"):
        file[name] = value
    elif kind == "group":
        file.create_group(name)
    elif kind == "link":
        file[name] = h5py.SoftLink("/nowhere" if isinstance(value, str) else f"/{name}")
