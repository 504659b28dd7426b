"""Files that are whole at every moment, and outputs that one process has to itself."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actde_nb.checks import BookError
from actde_nb.paths import ROOT
from actde_nb.training.files import replace_file, reserved


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_who_may_read(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        replace_file(tmp_path / "folder" / "file", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "folder" / "file").stat().st_mode & 0o777 == mode


def test_a_link_is_followed(tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "far" / "file")
    for content in (b"one", b"two"):
        with reserved(link):
            replace_file(link, content)
        assert link.is_symlink()
        assert (tmp_path / "far" / "file").read_bytes() == content
    assert [p.name for p in (tmp_path / "far").iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file_whole_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "run.nc"
    replace_file(path, b"old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        replace_file(path, b"new")
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_swept(tmp_path):
    path = tmp_path / "run[1].nc"
    for left in (".run[1].nc.0123abcd.tmp", ".run[1].nc.lock"):
        (tmp_path / left).write_bytes(b"half")
    other = tmp_path / ".run1.nc.0123abcd.tmp"
    other.write_bytes(b"another's")
    with reserved(path):
        replace_file(path, b"whole")
    assert set(tmp_path.iterdir()) == {path, other}


def test_one_process_has_it(tmp_path):
    path = tmp_path / "run.nc"
    ask = (
        "from pathlib import Path\nfrom actde_nb.training.files import reserved\n"
        f"with reserved(Path({str(path)!r})): print('mine', flush=True); input()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([sys.executable, "-c", ask], **pipes) as process:
        assert process.stdout.readline() == "mine\n"
        with pytest.raises(BookError, match="is being made by another process"), reserved(path):
            pass
        process.kill()  # the lock file stays, the lock does not
    assert (tmp_path / ".run.nc.lock").exists()
    with reserved(path), pytest.raises(BookError), reserved(path):
        pass
    with reserved(path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"), [("file/run.nc", errno.ENOTDIR), ("x" * 256, errno.ENAMETOOLONG), ("folder", errno.EISDIR)]
)
def test_what_cannot_be_written_is_named(tmp_path, name, reason):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    for attempt in (lambda: replace_file(path, b""), reserved(path).__enter__):
        with pytest.raises(OSError, match=".") as raised:
            attempt()
        assert (raised.value.errno, raised.value.filename) == (reason, str(path))


def test_files_beside_an_output_are_tried_too(tmp_path):
    beside = tmp_path / ("x" * 250)  # fits, but not what stands in for it
    with pytest.raises(OSError, match="File name too long") as raised, reserved(Path(tmp_path / "run.nc"), beside):
        pass
    assert raised.value.filename == str(beside)
    assert list(tmp_path.iterdir()) == []
