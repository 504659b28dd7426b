"""A Sphinx extension: what a page offers for download is a notebook that shows the page in any Jupyter.

The text is written from the page's resolved document, in plain Markdown: numbers in place, theorems as quotations,
solutions folded, references as links. Code and figures are those of the executed notebook. Text that quotes the
notebook's own numbers is the output of a cell, so that it follows when the notebook is run again."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import sphinx_exercise.nodes as exercises
from docutils import nodes
from myst_nb.ext.glue.roles import PasteTextRole
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from repository import address, installation
from sphinx.application import Sphinx
from sphinx_proof.nodes import proof_node

from actde_nb.pages.live import QUOTED, fingerprint

EXERCISES = (exercises.exercise_node, exercises.exercise_enumerable_node)
FOLDED = {"remove-cell", "remove-input", "hide-input", "hide-cell"}  # tags of cells whose code the page does not show
SPECIAL = re.compile(r"([\\`*_$<\[\]|])")
GLUED = "application/papermill.record"
SETUP = """\
# What the cells below need; it is installed unless it is there.
import importlib.util

if any(importlib.util.find_spec(name) is None for name in {needed}):
    {install}
from actde_nb.pages.live import begin_notebook, notebook_text

begin_notebook({seconds})"""


@dataclass
class Text:
    """Markdown, and the number of the cell of the source that it comes from."""

    markdown: str
    cell: int


@dataclass
class Code:
    """A cell of the executed notebook, by its number; ``folded`` if it belongs to a solution."""

    cell: int
    folded: bool = False


class GluedText(PasteTextRole):
    """The role ``glue:text``, whose node remembers what it quotes."""

    def run(self):
        """As the role does, with the key and the format on the node."""
        found, messages = super().run()
        for node in found:
            if isinstance(node, nodes.inline):
                node["quotes"] = self.text
        return found, messages


class Page:
    """One document on its way into Markdown."""

    def __init__(self, app: Sphinx, name: str, document: nodes.document):
        self.env, self.name, self.headings = app.env, name, headings(document)
        self.address = address(app)
        self.notebooks = {path.stem for path in Path(app.srcdir).glob("*.ipynb")}
        self.cell = 0

    # What stands in a line.

    def inline(self, node: nodes.Node) -> str:
        """The Markdown of a node inside a paragraph, or of a paragraph."""
        match node:
            case nodes.Text():
                return SPECIAL.sub(r"\\\1", str(node)).replace("\n", " ")
            case nodes.math():
                return f"${node.astext()}$".replace("\n", " ")
            case nodes.literal():
                return f"`{node.astext()}`"
            case nodes.emphasis():
                return f"*{self.inside(node)}*"
            case nodes.strong():
                return f"**{self.inside(node)}**"
            case nodes.inline() if "quotes" in node:
                return quotation(node)
            case nodes.reference():
                return self.link(node)
            case nodes.system_message() | nodes.comment() | nodes.target():
                return ""
        return self.inside(node)

    def inside(self, node: nodes.Element) -> str:
        """The Markdown of all that stands in a node."""
        return "".join(map(self.inline, node.children))

    def link(self, node: nodes.reference) -> str:
        """A reference: within the web as it is, within the book to its page or to the notebook beside this one."""
        text, target = self.inside(node), node.get("refuri", "")
        if re.match(r"https?:|mailto:", target):
            return f"[{text}]({target})"
        page, _, anchor = target.partition("#")
        anchor = anchor or node.get("refid", "")
        if self.address:
            return f"[{text}]({self.address}{page or f'{self.name}.html'}{anchor and '#'}{anchor})"
        other = page.removesuffix(".html") or self.name
        if other == self.name and anchor in self.headings:
            numbered = self.number(self.headings[anchor]) + self.headings[anchor].next_node(nodes.title).astext()
            return f"[{text}](#{numbered.replace(' ', '-')})"
        return f"[{text}]({other}.ipynb)" if other in self.notebooks and other != self.name else text

    # What stands by itself.

    def blocks(self, node: nodes.Element, depth: int = 1) -> Iterator[Text | Code]:
        """Text and cells, in the order of the page."""
        for child in node.children:
            self.cell = (child.line or 0) // 10_000 - 1 if getattr(child, "line", None) else self.cell
            match child:
                case nodes.section():
                    yield from self.blocks(child, depth + 1)
                case nodes.title() if isinstance(node, nodes.section):
                    yield self.text(f"{'#' * (depth - 1)} {self.number(node)}{self.inside(child)}")
                case nodes.container() if child.get("nb_element") == "cell_code":
                    self.cell = child["cell_index"]
                    yield Code(self.cell)
                    for figure in child.findall(nodes.figure):
                        if caption := next(iter(figure.findall(nodes.caption)), None):
                            yield self.text(f"**{self.figure(figure)}** {self.inside(caption)}")
                case proof_node():
                    yield from self.blocks(child, depth)
                case nodes.Admonition() if isinstance(node, proof_node):
                    yield self.text(quoted(self.plain(child)))
                case nodes.Admonition():
                    yield from self.framed(child, folded="dropdown" in child["classes"])
                case nodes.Element() if markdown := self.plain(child):
                    yield self.text(markdown)

    def text(self, markdown: str) -> Text:
        """Text at the present place."""
        return Text(markdown, self.cell)

    def framed(self, node: nodes.Element, folded: bool = False) -> Iterator[Text | Code]:
        """A theorem, an exercise and their like: its title and its text, as a quotation or to be unfolded."""
        first, *rest = node.children if isinstance(node.children[0], nodes.Titular) else [None, *node.children]
        title = self.statement(node, first)
        if folded:
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)  # where HTML stands, a link in Markdown is none
        parts = [*self.blocks(nodes.container("", *(child.deepcopy() for child in unwrapped(rest))))]
        if not any(isinstance(part, Code) for part in parts):
            parts = [self.text("\n\n".join(part.markdown for part in parts))]
        for part in parts:
            if isinstance(part, Code):
                yield Code(part.cell, folded)
            elif folded:
                text = f"<details><summary>{title}</summary>\n\n{part.markdown}\n\n</details>"
                yield Text(text, part.cell)
                title = title if title.endswith("continued") else f"{title}, continued"
            else:
                yield Text(quoted(f"**{title}**\n\n{part.markdown}" if title else part.markdown), part.cell)
                title = ""

    def statement(self, node: nodes.Element, title: nodes.Element | None) -> str:
        """What stands above a theorem, an exercise or a box."""
        text = self.inside(title).replace("%s", "").strip() if title is not None else ""
        if isinstance(node, EXERCISES):
            return f"Exercise {self.counted(node, 'exercise')}"
        kind = node.get("countertype")
        number = kind and self.counted(node, kind)
        return f"{node['realtype'].title()} {number} {text}".strip() if number else text

    def plain(self, node: nodes.Element) -> str:
        """A block without cells: a paragraph, a list, an equation, a table."""
        match node:
            case nodes.paragraph():
                return self.inside(node)
            case nodes.math_block():
                return self.equation(node)
            case nodes.bullet_list() | nodes.enumerated_list():
                return self.items(node)
            case nodes.table():
                return self.table(node)
            case nodes.literal_block():
                return f"```{node.get('language', '')}\n{node.astext()}\n```"
            case nodes.block_quote():
                return quoted("\n\n".join(filter(None, map(self.plain, node.children))))
            case nodes.attribution():
                return f"({self.inside(node)})"
            case nodes.comment() | nodes.target() | nodes.system_message() | nodes.raw():
                return ""
        return "\n\n".join(filter(None, (self.plain(c) for c in node.children if isinstance(c, nodes.Element))))

    def items(self, node: nodes.Element) -> str:
        """A list, whose items may have blocks of their own."""
        items = []
        for number, item in enumerate(node.children, node.get("start", 1)):
            mark = f"{number}. " if isinstance(node, nodes.enumerated_list) else "- "
            inner = "\n\n".join(filter(None, map(self.plain, item.children)))
            items.append(mark + inner.replace("\n", "\n" + " " * len(mark)))
        return "\n".join(items)

    def equation(self, node: nodes.math_block) -> str:
        """A displayed equation in one line: a line of its own in a quotation would begin with the quotation's mark."""
        tex = " ".join(re.sub(r"\\label\{[^}]*\}", "", node.astext()).split())
        tex = re.sub(r"\\(begin|end)\{(align|gather)\*?\}", r"\\\1{\2ed}", tex)
        if r"\\" in tex and r"\begin{" not in tex:
            tex = rf"\begin{{aligned}} {tex} \end{{aligned}}"
        number = self.counted(node, "displaymath") if node.get("number") else ""
        return rf"$$ {tex} \tag{{{number}}} $$" if number else f"$$ {tex} $$"

    def table(self, node: nodes.table) -> str:
        """A table with its caption above it."""
        rows = []
        for row in node.findall(nodes.row):
            cells = (" ".join(filter(None, map(self.plain, entry.children))) for entry in row.children)
            rows.append("| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |")
        head = len(list(node.findall(nodes.thead)))
        sides = [right_aligned(entry) for entry in next(iter(node.findall(nodes.row))).children]
        rule = "| " + " | ".join("--:" if side else ":--" for side in sides) + " |"
        rows = [*(rows[:1] if head else ["|" + " |" * len(sides)]), rule, *rows[head:]]
        title = next((c for c in node.children if isinstance(c, nodes.title)), None)
        caption = [] if title is None else [f"**{self.figure(node)}** {self.inside(title)}", ""]
        return "\n".join(caption + rows)

    # Numbers that Sphinx gave.

    def number(self, section: nodes.section) -> str:
        """Number of a section, and a space; nothing on pages without numbers."""
        numbers = self.env.toc_secnumbers.get(self.name, {})
        found = next((numbers[key] for key in ["#" + i for i in section["ids"]] + [""] if key in numbers), ())
        return ".".join(map(str, found)) + " " if found else ""

    def counted(self, node: nodes.Element, kind: str) -> str:
        """Number of an equation, a figure, a table or a theorem."""
        numbers = self.env.toc_fignumbers.get(self.name, {}).get(kind, {})
        ids = node["ids"] + ([f"equation-{node['label']}"] if node.get("label") else [])
        return next((".".join(map(str, numbers[i])) for i in ids if i in numbers), "")

    def figure(self, node: nodes.Element) -> str:
        """What a figure or a table is called."""
        kind = "table" if isinstance(node, nodes.table) else "figure"
        return self.env.config.numfig_format.get(kind, "%s") % self.counted(node, kind)


def headings(document: nodes.document) -> dict[str, nodes.section]:
    """The section that each target of a page stands in, since links in a notebook can lead to headings only."""
    found = {}
    for node in document.findall(nodes.Element):
        section = node
        while section is not None and not (isinstance(section, nodes.section) and titled(section)):
            section = section.parent
        if section is not None:
            found |= dict.fromkeys(node.get("ids", ()), section)
    return found


def titled(section: nodes.section) -> bool:
    """Whether a section has a heading, and one whose words are the whole of it."""
    title = section.children[0] if section.children else None
    return isinstance(title, nodes.title) and all(isinstance(child, nodes.Text) for child in title.children)


def unwrapped(children: list[nodes.Node]) -> Iterator[nodes.Node]:
    """The content of sections that only hold a theorem or an exercise together."""
    for child in children:
        yield from unwrapped(child.children) if isinstance(child, nodes.section) else [child]


def quoted(text: str) -> str:
    """A quotation in Markdown."""
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def right_aligned(entry: nodes.entry) -> bool:
    """Whether a column of a table has its numbers on the right."""
    return any("right" in value for value in entry["classes"])


def quotation(node: nodes.inline) -> str:
    """A number of this page as the notebook's text has it: its key, its format, and the book's value."""
    text = node.astext()
    key, form = node["quotes"].rsplit(":", 1) if ":" in node["quotes"] else (node["quotes"], "s")
    if "::" in node["quotes"] or set("{}|") & set(text + form):
        return SPECIAL.sub(r"\\\1", text)
    return f"{{{{{key}:{form}|{text}}}}}"


def shown(markdown: str) -> str:
    """Live text as it stands before anything was run."""
    return QUOTED.sub(r"\3", markdown)


def cells(source: nbformat.NotebookNode, blocks: list[Text | Code]) -> Iterator[nbformat.NotebookNode]:
    """The cells of the portable notebook: text joined as far as it is of one kind, and every cell that computes."""
    done = {block.cell for block in blocks if isinstance(block, Code)}  # these come in their own place
    done |= {i for i, c in enumerate(source.cells) if "injected-parameters" in c.metadata.get("tags", [])}
    waiting: list[str] = []

    def written() -> Iterator[nbformat.NotebookNode]:
        if waiting:
            text = "\n\n".join(waiting)
            yield prose_cell(text) if shown(text) != text else new_markdown_cell(text)
            waiting.clear()

    def computed(before: int) -> Iterator[nbformat.NotebookNode]:
        for index in range(before):
            if source.cells[index].cell_type == "code" and index not in done:
                done.add(index)
                yield code_cell(source.cells[index], folded=True)

    for block in blocks:
        hidden = [*computed(block.cell)]
        if hidden or isinstance(block, Code):
            yield from written()
            yield from hidden
        if isinstance(block, Code):
            yield code_cell(source.cells[block.cell], block.folded)
            continue
        heading = block.markdown.startswith("#")
        if waiting and (heading or (shown(block.markdown) != block.markdown) != (shown(waiting[-1]) != waiting[-1])):
            yield from written()
        waiting.append(block.markdown)
    yield from written()
    yield from computed(len(source.cells))


def code_cell(cell: nbformat.NotebookNode, folded: bool = False) -> nbformat.NotebookNode:
    """A cell as it was executed, without what only the book's build reads."""
    tags = set(cell.metadata.get("tags", []))
    outputs = [output for output in cell.outputs if not any(k.startswith(GLUED) for k in output.get("data", {}))]
    kept = new_code_cell(cell.source, outputs=outputs, execution_count=cell.execution_count, id=cell.id)
    kept.metadata["tags"] = sorted(tags & {"parameters"})
    if folded or tags & FOLDED:
        kept.metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form"}
    if folded and outputs:
        kept.metadata["jupyter"]["outputs_hidden"] = True
    return kept


def prose_cell(markdown: str) -> nbformat.NotebookNode:
    """Text whose numbers follow those of the run."""
    output = new_output("display_data", {"text/markdown": shown(markdown), "text/plain": "Markdown"})
    cell = new_code_cell(f'notebook_text(r"""\n{markdown}\n""")', outputs=[output])
    cell.metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form", "tags": ["prose"]}
    return cell


def write(app: Sphinx, document: nodes.document, name: str) -> None:
    """Make the portable notebook of a page that is one."""
    path = Path(app.srcdir, f"{name}.ipynb")
    if not path.exists() or app.builder.format != "html":
        return
    source = nbformat.read(path, as_version=4)
    seconds = {fingerprint(c.source): c.metadata["seconds"] for c in source.cells if "seconds" in c.metadata}
    notebook = nbformat.v4.new_notebook(
        metadata={key: source.metadata[key] for key in ("kernelspec", "language_info") if key in source.metadata}
    )
    more = source.metadata.get("install", {})  # a field of the front matter: {extra: NAME, unless: MODULE}
    needed = ["actde_nb", more["unless"]] if more else ["actde_nb"]
    setup = SETUP.format(install=installation(app, more.get("extra", "")), needed=needed, seconds=seconds)
    first = new_code_cell(setup, id="setup")
    first.metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form", "tags": ["setup"]}
    notebook.cells = [first, *cells(source, [*Page(app, name, document).blocks(document)])]
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" or "prose" in cell.metadata.get("tags", []):
            cell["id"] = f"text-{number}"
    nbformat.validate(notebook)
    app.portable[name] = notebook


def finish(app: Sphinx, error: Exception | None) -> None:
    """Put the notebooks where the pages' download buttons look, in place of their sources."""
    for name, notebook in app.portable.items() if error is None else ():
        nbformat.write(notebook, Path(app.outdir, "_sources", f"{name}.ipynb"))


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.setup_extension("repository")
    app.portable = {}
    app.add_role_to_domain("glue", "text", GluedText(), override=True)
    app.connect("doctree-resolved", write, priority=900)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
