"""Bibliography, glossary, API reference, licences and the README say what is there, all of it."""

import importlib
import inspect
import pkgutil
import re
import types
from pathlib import Path

import pytest
from pybtex.database import parse_file

import actde_nb

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
PAGES = sorted(BOOK.glob("*.md"))
ENTRIES = parse_file(str(BOOK / "references.bib")).entries
# Neither DOI nor arXiv number exists.
WEB_PAGES = {"johnson2023greedy", "schulman2020approximating", "transferlab2023apa", "turner2023mode"}

TERMS = {
    "A*-PO", "ACTDE", "action value", "admissible", "advantage", "anchor", "APA", "AWR", "baseline", "best-of-n",
    "bootstrap", "Clip-Cov", "clip-higher", "critic", "discount", "distinct-2", "Dr. GRPO", "DRO",
    "effective number of sentences", "effective sample size", "entropy", "fixed point", "frontier", "GAA", "gold",
    "grammar", "GRPO", "honeypot", "jackpot", "judge", "k1, k2, k3", "KL divergence", "KL penalty", "leak", "leash",
    "logit", "logit gap", "mode collapse", "nat", "policy", "PPO", "prefix tree", "price", "prior", "proxy",
    "REBEL", "released", "residual", "return minus q", "RLOO", "rollout", "soft q", "soft regret", "softmax",
    "TD error", "telescoping", "temperature", "text adventure", "tie", "tilt", "trajectory balance", "trial",
    "value", "VarGrad", "whitening", "wireheading",
}  # fmt: skip


# Where somebody starts who brings a reward, a method, a world or a model of their own.
PUBLIC = [
    "tables.bandit", "tables.mdp", "worlds", "worlds.language", "worlds.rewards", "training.advantages",
    "training.algorithms", "training.config", "training.losses", "training.trainer", "finetune.checkpoint",
    "finetune.run", "finetune.settings", "experiments.runs", "compare.frontiers", "compare.intervals", "cli",
]  # fmt: skip


def public_modules() -> list[str]:
    """Modules of the package by their dotted names."""
    found = pkgutil.walk_packages(actde_nb.__path__, "actde_nb.")
    return [module.name for module in found if not module.name.split(".")[-1].startswith("_")]


@pytest.mark.parametrize("key", sorted(ENTRIES))
def test_every_source_has_a_number_to_find_it_by(key):
    fields = ENTRIES[key].fields
    assert ENTRIES[key].persons["author"]
    assert re.fullmatch(r"(19|20)\d\d", fields["year"])
    if key in WEB_PAGES:
        assert fields["url"].startswith("https://")
    elif "doi" in fields:
        # 10.5555/... numbers are one publisher's own and do not resolve.
        assert re.fullmatch(r"10\.(?!5555)\d{4,5}/\S+", fields["doi"])
    else:
        assert re.fullmatch(r"\d{4}\.\d{4,5}", fields["eprint"])
        assert fields["archiveprefix"] == "arXiv"


def test_keys_tell_author_and_year():
    for key, entry in ENTRIES.items():
        author, year = re.fullmatch(r"([a-z]+)(\d{4})\w+", key).groups()
        assert year == entry.fields["year"], key
        last = re.sub(r"\\[a-z]\b|\W", "", entry.persons["author"][0].last_names[-1].lower())
        assert last.startswith(author), key


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_citation_has_its_entry(page):
    cited = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", page.read_text(encoding="utf-8"))
    keys = {key.strip() for group in cited for key in group.split(",")}
    assert keys <= set(ENTRIES)


def test_the_post_is_cited():
    assert any("`turner2023mode`" in page.read_text(encoding="utf-8") for page in PAGES)


def test_glossary_defines_the_terms_in_order():
    block = re.search(r"```\{glossary\}\n(.*?)```", (BOOK / "glossary.md").read_text(encoding="utf-8"), re.S)[1]
    defined = re.findall(r"^(\S.*)$", block, re.M)
    assert set(defined) == TERMS
    assert defined == sorted(defined, key=str.lower)


def test_terms_used_are_defined():
    for page in PAGES:
        used = re.findall(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`", page.read_text(encoding="utf-8"))
        assert {term.lower() for term in used} <= {term.lower() for term in TERMS}, page.name


def shown(page: str) -> list[str]:
    return re.findall(r"automodule:: actde_nb\.(\S+)", (BOOK / page).read_text(encoding="utf-8"))


def test_what_a_reader_needs_is_on_the_first_page_of_the_api_and_the_rest_on_the_second():
    assert shown("api.md") == PUBLIC
    assert sorted(f"actde_nb.{name}" for page in ("api.md", "api_internal.md") for name in shown(page)) == sorted(
        public_modules()
    )


@pytest.mark.parametrize("name", public_modules())
def test_everything_public_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__, name
    for label, thing in inspect.getmembers(module):
        if label.startswith("_") or getattr(thing, "__module__", None) != name or not callable(thing):
            continue
        assert thing.__doc__, f"{name}.{label}"
        # A dataclass without a docstring is given its own signature for one.
        assert not thing.__doc__.startswith(f"{label}("), f"{name}.{label}"
        if inspect.isclass(thing):
            for method, function in vars(thing).items():
                if not method.startswith("_") and isinstance(function, property | types.FunctionType):
                    assert inspect.getdoc(function), f"{name}.{label}.{method}"


@pytest.mark.parametrize(
    ("file", "phrases"),
    [
        ("LICENSE", ["MIT License", "2026 the actde_nb authors", "AS IS"]),
        ("LICENSE-text", ["CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/legalcode", "does not cover code"]),
        ("README.md", ["make book", "make test", "Python 3.11", "environment.yml", "LICENSE-text"]),
        ("CONTRIBUTING.md", ["make test", "put(", "@figure", "book/scorecard/", "references.bib", "_toc.yml"]),
    ],
)
def test_front_matter_is_there(file, phrases):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert [phrase for phrase in phrases if phrase not in text] == []


def test_commands_named_exist():
    """Every ``make`` target in README, CONTRIBUTING and the book is in the Makefile."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]:
        named = re.findall(r"(?:`|^)make (\w+)", file.read_text(encoding="utf-8"), re.M)
        assert set(named) <= targets, file.name
