"""Links that need an address: all of them where the build knows it, none where it does not."""

from types import SimpleNamespace

import pytest
import repository
from docutils.utils import new_document

from actde_nb import cli

WHERE = "https://github.com/owner/name"


def app(folder, address: str) -> SimpleNamespace:
    return SimpleNamespace(srcdir=folder, config=SimpleNamespace(book_repository=address, book_revision="abc"))


def buttons(folder, address: str, page: str) -> dict[str, str]:
    context = {"header_buttons": []}
    repository.links(app(folder, address), page, "page.html", context, new_document("page"))
    return {button["text"]: button["url"] for group in context["header_buttons"] for button in group["buttons"]}


@pytest.fixture
def pages(tmp_path):
    (tmp_path / "01_first.ipynb").touch()
    return tmp_path


def test_no_address_no_links(pages):
    assert buttons(pages, "", "01_first") == {}
    assert repository.address(app(pages, "")) == ""
    assert repository.installation(app(pages, "")).startswith("raise ModuleNotFoundError(")


@pytest.mark.parametrize(("extra", "asked"), [("", ""), ("finetune", "[finetune]")])
def test_what_is_missing_is_told_in_one_line_that_names_the_extra(pages, extra: str, asked: str):
    with pytest.raises(ModuleNotFoundError) as told:
        exec(repository.installation(app(pages, ""), extra))
    assert str(told.value).startswith(f"actde-nb{asked} is missing: pip install FOLDER{asked}, ")
    line = f'%pip install --quiet "actde-nb{asked} @ git+{WHERE}@abc"'
    assert repository.installation(app(pages, WHERE), extra) == line


def test_a_chapter_on_github_has_them_all(pages):
    assert buttons(pages, WHERE + ".git/", "01_first") == {
        "Repository": WHERE,
        "Open an issue": f"{WHERE}/issues/new",
        "Suggest an edit": f"{WHERE}/edit/main/book/01_first.md",
        "Run in Colab": "https://colab.research.google.com/github/owner/name/blob/notebooks/01_first.ipynb",
        "Run on Binder": "https://mybinder.org/v2/gh/owner/name/notebooks?labpath=01_first.ipynb",
    }
    assert repository.address(app(pages, WHERE)) == "https://owner.github.io/name/"
    assert repository.installation(app(pages, WHERE)) == f'%pip install --quiet "actde-nb @ git+{WHERE}@abc"'


def test_a_page_without_code_is_not_run_and_a_made_one_is_not_edited(pages):
    assert list(buttons(pages, WHERE, "glossary")) == ["Repository", "Open an issue", "Suggest an edit"]
    assert list(buttons(pages, WHERE, "scorecard")) == ["Repository", "Open an issue"]


def test_elsewhere_than_on_github_nothing_is_promised(pages):
    assert list(buttons(pages, "https://example.org/a/b", "01_first")) == [
        "Repository",
        "Open an issue",
        "Suggest an edit",
    ]


def test_the_workflows_variables_say_where(monkeypatch):
    for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    assert cli._repository() == ""
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
    assert cli._repository() == WHERE
