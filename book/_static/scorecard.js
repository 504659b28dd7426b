// The scorecard's filter. Every row carries its verdict, source and chapter as data attributes of an empty span; the
// form says which of them to show, and the address says it too: scorecard.html#verdict=refuted&source=post.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("form.choose-rows");
  if (!form) return;
  const choices = [...form.querySelectorAll("select")];
  const status = form.querySelector("[role=status]");
  const rows = [...document.querySelectorAll("tr .marks")].map((marks) => ({ marks: marks.dataset, row: marks.closest("tr") }));
  // The parts of the page that hold such rows and nothing else: a verdict, and a chapter under it.
  const parts = [...document.querySelectorAll("section")].filter(
    (section) => section.querySelector(".marks") && !section.contains(form),
  );

  function show() {
    for (const { marks, row } of rows) row.hidden = choices.some(({ name, value }) => value && marks[name] !== value);
    for (const part of parts) {
      part.hidden = !part.querySelector("tr:not([hidden]) .marks");
      for (const link of document.querySelectorAll(`.page-toc a[href="#${part.id}"]`)) link.parentElement.hidden = part.hidden;
    }
    status.textContent = `${rows.filter(({ row }) => !row.hidden).length} of ${rows.length} rows are shown.`;
  }

  function choose(asked) {
    for (const choice of choices) {
      choice.value = asked.get(choice.name) ?? "";
      if (choice.selectedIndex < 0) choice.value = ""; // an address may name what no row has
    }
    show();
  }

  function tell() {
    const chosen = choices.filter(({ value }) => value).map(({ name, value }) => [name, value]);
    history.replaceState(null, "", `#${new URLSearchParams(chosen)}`);
  }

  // An address names either a choice or, as on any page, a place; a place that the choice hides comes back into view.
  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const place = document.getElementById(location.hash.slice(1));
    if (choices.some(({ name }) => asked.has(name))) {
      choose(asked);
      form.scrollIntoView();
    } else if (place?.closest("[hidden]")) {
      choose(new URLSearchParams());
      place.scrollIntoView();
    }
  }

  form.addEventListener("change", () => {
    show();
    tell();
  });
  form.addEventListener("reset", () => {
    choose(new URLSearchParams());
    tell();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", follow);
  form.hidden = false;
  show();
  follow();
});
