"""Files that are whole at every moment, outputs that one process has to itself, and tensors with a digest."""

import errno
import glob
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from actde_nb import paths
from actde_nb.checks import CheckpointError


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Put ``content`` into a file in one move: whoever looks finds the old file or the new one, whole.

    A link is followed, and the process's umask decides who may read. An OSError names ``path``, which is as it was."""
    with _naming(path):
        temporary = _temporary(path)
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, _target(path))
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def reserved(path: Path, *beside: Path) -> Iterator[None]:
    """Keep an output for this process, after making sure that it and the files beside it can be written.

    What a killed process left behind, a lock or half a file, does not stand in the way and is removed."""
    for file in (path, *beside):
        with _naming(file):
            if file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            probe = _temporary(file)
            probe.touch(exist_ok=False)
            probe.unlink()
    with paths.reserved(_target(path)):
        for file in map(_target, (path, *beside)):
            for left in file.parent.glob(f".{glob.escape(file.name)}.*.tmp"):
                left.unlink()
        yield


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write tensors in the safetensors format, so that reading them runs no code, with a digest in the header."""
    # A copy of each: some are views of one another, which the format refuses.
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    replace_file(path, save(copies, {**header, "sha256": digest(copies, header)}))


def read_tensors(path: Path, form: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors by name and the header that :func:`write_tensors` wrote, whose ``format`` must be ``form``."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as {form}: {error}") from None
    if header.get("format") != form:
        raise CheckpointError(f"{path} has format {header.get('format')!r}: allowed is {form!r}")
    if header.pop("sha256", None) != digest(tensors, header):
        raise CheckpointError(f"{path} is damaged: its content is not what it was written with")
    return tensors, header


def digest(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """A hash of every number and every entry of the header."""
    total = hashlib.sha256(json.dumps(dict(header), sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())  # NumPy knows no bfloat16
    return total.hexdigest()


def _target(path: Path) -> Path:
    """Where a link leads, in a folder that is there."""
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    return target


def _temporary(path: Path) -> Path:
    target = _target(path)
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of the operating system name the file that was asked for, not the one that stands in for it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
