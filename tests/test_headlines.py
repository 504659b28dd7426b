"""The main findings read the same wherever they are given: ``book/headlines.yml`` says which sentence stands where.

A place is a page (``intro``, ``15_actde_language``, ``scorecard``) or the claim of a row (``scorecard/A1``)."""

import re

import pytest
import scorecard
import yaml

from actde_nb.paths import SOURCES

HEADLINES = yaml.safe_load((SOURCES / "headlines.yml").read_text(encoding="utf-8"))


def plain(text: str) -> str:
    """The words of a Markdown text: marks of emphasis, quotation and roles gone, every gap one space."""
    text = re.sub(r"^[ \t]*>[ \t]?", "", text, flags=re.M)  # a quoted block
    text = re.sub(r"\\$", "", text, flags=re.M)  # a line break
    text = re.sub(r"\{[\w:]+\}`([^`<]+?)(?:\s*<[^`>]+>)?`", r"\1", text)  # {term}`text <target>`
    text = re.sub(r"\[([^\]]+)\](?:\([^)]*\)|\{[^}]*\})", r"\1", text)  # [text](target)
    text = re.sub(r"[*`]|(?<!\w)_+(?=\w)|(?<=[\w.,;:!?])_+(?!\w)", "", text)
    return " ".join(text.replace("&nbsp;", " ").split())


def stands_in(sentence: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(plain(sentence))}(?!\w)", plain(text)) is not None


def text_of(place: str) -> str:
    """The source of a place."""
    page, _, name = place.partition("/")
    if name:
        files = (SOURCES / page).glob("*.yml")
        rows = [row for file in files for row in yaml.safe_load(file.read_text(encoding="utf-8"))]
        return next(row["claim"] for row in rows if row["id"] == name)
    generated = {"scorecard": scorecard.__file__.replace(".py", ".md.jinja")}
    return (SOURCES / generated.get(page, f"{page}.md")).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("place", "sentence"), [(place, entry["sentence"]) for entry in HEADLINES for place in entry["places"]]
)
def test_a_headline_stands_word_for_word_where_it_is_said_to(place: str, sentence: str):
    assert stands_in(sentence, text_of(place)), f"not in {place}: {sentence}"


def test_every_headline_has_a_place_and_is_listed_once():
    assert all(set(entry) == {"sentence", "places"} and entry["places"] for entry in HEADLINES)
    assert all(len(set(entry["places"])) == len(entry["places"]) for entry in HEADLINES)
    sentences = [plain(entry["sentence"]) for entry in HEADLINES]
    assert sentences
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize(
    "text",
    [
        "So: the tie holds a policy back. Then",
        "- **the tie** holds\n  a _policy_ back.",
        "- **So: the tie holds a policy back.**",
        "> the tie\n> holds a policy\\\n> *back*.",
        "the {term}`tie <hard tie>` holds a {term}`policy` back.",
        "the [tie](#x) holds a&nbsp;`policy` back.",
    ],
)
def test_marks_and_line_breaks_make_no_difference(text: str):
    assert stands_in("the tie holds a policy back.", text)
    assert stands_in("the **tie** holds\na policy back.", text)


@pytest.mark.parametrize(
    "text",
    [
        "the tie holds the policy back.",
        "the tie holds a policy back",
        "the tie holds policy a back.",
        "the tie holds a _very_ policy back.",
        "bathe tie holds a policy back.",
        "",
    ],
)
def test_another_word_or_another_order_does(text: str):
    assert not stands_in("the tie holds a policy back.", text)


def test_the_claim_of_a_row_is_a_place():
    assert text_of("scorecard/A99").startswith("The post has two published versions")
    with pytest.raises(StopIteration):
        text_of("scorecard/A0")
