"""What learns, what stays, what is saved, and what cannot be loaded."""

import copy

import pytest
import torch
from tiny_language_models import END, SHAPES, WORDS, gpt2, language_model, llama, tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from actde_nb.checks import SettingError
from actde_nb.finetune import models
from actde_nb.finetune.checkpoint import save_pretrained
from actde_nb.finetune.loop import FineTuning
from actde_nb.finetune.models import LanguageModel
from actde_nb.finetune.settings import Settings

TOKENS = torch.tensor([[5, 6, 7, 2], [8, 9, 3, 4]])
SEEN, PLACES = torch.ones(2, 4, dtype=torch.bool), torch.arange(4).expand(2, -1)


def logits(model: LanguageModel, reference: bool = False) -> torch.Tensor:
    return model.read(TOKENS, SEEN, PLACES, 4, reference=reference).logits


def train(model: LanguageModel, steps: int = 3) -> None:
    optimiser = torch.optim.SGD(model.learned.values(), lr=0.1)
    for _ in range(steps):
        logits(model).log_softmax(-1)[..., 2].mean().backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.parametrize("learns", ["all", "lora:4", "last:1"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_reference_stays_what_the_model_was(shape, learns):
    """To the bit, through training, and the base of adapters is untouched by name too."""
    with torch.no_grad():
        first = SHAPES[shape]().eval()(TOKENS).logits
    model = language_model(shape, learns)
    assert torch.equal(logits(model, reference=True), first)
    assert torch.equal(logits(model), first)  # fresh adapters add nothing
    train(model)
    assert torch.equal(logits(model, reference=True), first)
    assert (logits(model) - first).abs().max() > 1e-3


def test_adapters_begin_at_the_reference_as_peft_has_it():
    model = language_model("llama", "lora:4")
    train(model)
    with model.module.disable_adapter(), torch.no_grad():
        off = model.module(TOKENS).logits
    assert torch.equal(logits(model, reference=True), off)
    assert all("lora" in name for name in model.learned)


def test_adapters_are_drawn_from_the_seed_and_leave_other_streams_alone():
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    one, two, three = (LanguageModel(module, tokenizer(), "lora:2", seed).learned for module, seed in MADE)
    assert torch.equal(torch.rand(3), wanted)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], three[name]) for name in one)


MADE = [(llama(), 0), (llama(), 0), (llama(), 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_last_blocks_learn_as_they_would_in_the_whole(shape):
    whole, last = language_model(shape), language_model(shape, "last:1")
    for model in (whole, last):
        logits(model).log_softmax(-1)[..., 2].mean().backward()
    assert 0 < len(last.learned) < len(whole.learned)
    assert all(".1." in name for name in last.learned)  # of blocks 0 and 1
    for name, parameter in last.learned.items():
        assert torch.allclose(parameter.grad, whole.learned[name].grad, rtol=1e-6, atol=1e-9)
        assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("learns", ["all", "lora:4", "last:1"])
def test_transformers_loads_what_was_saved(tmp_path, learns, merged):
    model = language_model("llama", learns)
    train(model)
    save_pretrained(FineTuning(model, [], len, Settings()), tmp_path, merged)
    assert not list(tmp_path.glob("*.bin"))
    if learns.startswith("lora") and not merged:
        from peft import PeftModel  # after the check that it is there

        loaded = PeftModel.from_pretrained(llama(), tmp_path)
    else:
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        found = loaded.eval()(TOKENS).logits
    assert (found - logits(model)).abs().max() <= (0.0 if not learns.startswith("lora") else 1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path)("the movie")["input_ids"] == [5, 6]
    train(model, 1)  # saving has left it as it was: it goes on learning


def test_a_folder_and_a_tokenizer_of_its_own(tmp_path):
    gpt2().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    model = models.load(tmp_path, "last:1", dtype="float64")
    assert next(iter(model.learned.values())).dtype == torch.float64
    assert model.encode("the movie was") == (5, 6, 7)
    assert model.decode([5, 2, END]) == "the so"
    assert model.ends == (END,)


def test_a_gguf_file_is_dequantised(monkeypatch, tmp_path):
    """What transformers is told; without it, what it loads can be neither trained nor saved."""
    asked = {}
    monkeypatch.setattr(
        models.AutoModelForCausalLM,
        "from_pretrained",
        lambda path, **options: asked.update(options, path=path) or llama(),
    )
    monkeypatch.setattr(
        models.AutoTokenizer,
        "from_pretrained",
        lambda path, **options: asked.update(words=(path, options)) or tokenizer(),
    )
    models.load(tmp_path / "small.gguf", "last:1")
    assert asked["path"] == str(tmp_path)
    assert asked["gguf_file"] == "small.gguf"
    assert asked["quantization_config"].dequantize is True
    assert asked["words"] == (str(tmp_path), {"gguf_file": "small.gguf"})


def test_a_chat_template_opens_the_answer():
    words = tokenizer()
    words.chat_template = (
        "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}a{% endif %}"
    )
    model = LanguageModel(llama(), words, "all")
    assert model.encode([{"role": "user", "content": "the movie"}]) == (5, 6, 8)
    with pytest.raises(SettingError, match=r"^prompts has messages: allowed are texts, since .* no chat template$"):
        language_model().encode([{"role": "user", "content": "the movie"}])


def line(caught: pytest.ExceptionInfo) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert "allowed" in text
    return text


def test_no_such_model_no_weights_no_tokenizer(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or it tries for minutes without a network
    with pytest.raises(SettingError) as caught:
        models.load("nobody/nothing-at-all", "all")
    assert line(caught).startswith("model = 'nobody/nothing-at-all': allowed is")
    llama().config.save_pretrained(tmp_path)
    with pytest.raises(SettingError) as caught:
        models.load(tmp_path, "all")
    assert line(caught).startswith(f"model = '{tmp_path}'")
    with pytest.raises(SettingError) as caught:
        models.load(tmp_path / "model.gguf", "all")
    assert line(caught).startswith(f"model = '{tmp_path}/model.gguf'")
    llama().save_pretrained(tmp_path)
    with pytest.raises(SettingError) as caught:
        models.load(tmp_path, "all")
    assert line(caught).startswith(f"tokenizer = '{tmp_path}'")
    with pytest.raises(SettingError) as caught:
        models.load(llama(), "all", tokenizer="nobody/words")
    assert line(caught).startswith("tokenizer = 'nobody/words'")
    with pytest.raises(SettingError) as caught:
        models.load(torch.nn.Linear(2, 2), "all", tokenizer())
    assert line(caught).startswith("model = Linear")


class Bomb:
    """What a pickle can do."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_no_pickle_is_loaded(tmp_path):
    llama().config.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    torch.save({"model.embed_tokens.weight": Bomb()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(SettingError) as caught:
        models.load(tmp_path, "all")
    assert "safetensors" in line(caught)


def test_a_tokenizer_must_have_an_end():
    with pytest.raises(SettingError) as caught:
        LanguageModel(llama(eos_token_id=None), tokenizer(eos_token=None), "all")
    assert line(caught).startswith("tokenizer.eos_token = None")
    assert LanguageModel(llama(), tokenizer(eos_token=None), "all").ends == (END,)


class Bigrams(PreTrainedModel):
    """A table of what follows what: no linear layer but its head, no block."""

    config_class = PreTrainedConfig
    _tied_weights_keys: dict = {}

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        self.table = torch.nn.Embedding(len(WORDS), 4)
        self.lm_head = torch.nn.Linear(4, len(WORDS), bias=False)

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.table

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.lm_head

    def forward(self, input_ids: torch.Tensor, **_: object) -> torch.Tensor:
        return self.lm_head(self.table(input_ids))


def test_what_cannot_learn_as_asked():
    config = PreTrainedConfig(num_hidden_layers=2)
    with pytest.raises(SettingError) as caught:
        LanguageModel(Bigrams(config), tokenizer(), "lora:4")
    assert line(caught).startswith("learns = 'lora:4': allowed are all and last:BLOCKS, since Bigrams has no linear")
    with pytest.raises(SettingError) as caught:
        LanguageModel(Bigrams(config), tokenizer(), "last:1")
    assert line(caught).startswith("learns = 'last:1': allowed are all and lora:RANK")
    with pytest.raises(SettingError) as caught:
        LanguageModel(llama(), tokenizer(), "last:3")
    assert line(caught) == "learns = 'last:3': allowed are 1 to 2 blocks"


def test_a_model_is_known_by_its_numbers():
    one = language_model()
    same, other = language_model(), language_model(seed=1)
    train(one)
    assert one.identity() == same.identity() != other.identity()
    assert copy.deepcopy(one.module) is not one.module
