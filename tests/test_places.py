"""Where things lie."""

from actde_nb.places import stored_files


def test_strangers_beside_the_stored_runs_are_not_taken_for_them(tmp_path):
    for name in (
        "b.nc",
        "a.safetensors",
        ".DS_Store",
        ".b.nc.lock",
        ".hidden.nc",
        "b.nc.checkpoint.safetensors",
        "x.md",
    ):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.nc").mkdir()
    assert [path.name for path in stored_files(tmp_path)] == ["a.safetensors", "b.nc"]
