"""Nothing but the room for large models needs their libraries."""

import subprocess
import sys

from actde_nb.paths import ROOT

WITHOUT = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"transformers", "peft", "gguf", "accelerate", "tokenizers", "huggingface_hub"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import actde_nb
names = [m.name for m in pkgutil.walk_packages(actde_nb.__path__, "actde_nb.", onerror=lambda name: None)]
names = [name for name in names if not name.startswith(("actde_nb.finetune", "actde_nb.__main__"))]
for name in names:
    importlib.import_module(name)
for name in ("settings", "critic", "smollm2"):
    importlib.import_module(f"actde_nb.finetune.{name}")
try:
    importlib.import_module("actde_nb.finetune.models")
except ImportError as error:
    print(len(names), error)
"""


def test_all_other_modules_import_without_it():
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, *message = done.stdout.split()
    assert int(count) > 40
    assert message[-2:] == ["is", "blocked"]


def test_one_file_alone_knows_of_them():
    names = ("transformers", "peft", "gguf", "accelerate")
    using = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "actde_nb").rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith(tuple(f"{word} {name}" for word in ("import", "from") for name in names))
    }
    assert using == {"actde_nb/finetune/models.py"}
