/* A preview of what a link in the text leads to: a term, an equation, a theorem, a reference. It appears beside the link
   under the pointer or with the focus, and goes with Escape. On a touch screen a link is only a link. */
(() => {
  "use strict";

  const LINKS = "article a.reference.internal[href*='#']";
  const TARGETS = "dl.glossary > dt, div.math, div.proof";
  const PATIENCE = 200; // milliseconds before it comes, and before it goes
  const here = document.currentScript.src;
  const tip = document.createElement("div");
  tip.id = "link-preview";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  let shown = null, waiting = 0, loading = null;

  /* What stands on other pages comes as a script, since a page that lies on a disk may not fetch a file. */
  function others() {
    loading ??= new Promise((done) => {
      const script = document.createElement("script");
      script.src = new URL("previews-data.js", here).href;
      script.onload = () => done(window.bookPreviews);
      script.onerror = () => done({});
      document.head.append(script);
    });
    return loading;
  }

  /* The nodes to show for a link, none for a link to something else. */
  async function content(link) {
    if (link.closest(".bibtex-citation")) {
      link.dataset.told ??= link.title;
      link.removeAttribute("title"); // which the browser would show as well
      return [link.dataset.told];
    }
    const address = new URL(link.href);
    const page = address.pathname.split("/").pop();
    const found = document.createElement("template");
    if (page === location.pathname.split("/").pop()) {
      const target = document.getElementById(decodeURIComponent(address.hash.slice(1)));
      if (!target?.matches(TARGETS)) return [];
      found.content.append(target.cloneNode(true));
      if (target.matches("dt")) found.content.append(target.nextElementSibling.cloneNode(true));
    } else {
      found.innerHTML = (await others())[page + decodeURIComponent(address.hash)] ?? "";
    }
    for (const part of found.content.querySelectorAll(".headerlink, button")) part.remove();
    for (const part of found.content.querySelectorAll("a")) part.replaceWith(...part.childNodes);
    for (const part of found.content.querySelectorAll("[id], [tabindex]")) {
      part.removeAttribute("id");
      part.removeAttribute("tabindex");
    }
    return [...found.content.childNodes];
  }

  function place() {
    if (!shown) return;
    const box = shown.getClientRects()[0];
    const below = box.bottom + 6, above = box.top - tip.offsetHeight - 6;
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${below + tip.offsetHeight > innerHeight && above > 0 ? above : below}px`;
  }

  function hide() {
    clearTimeout(waiting);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    tip.hidden = true;
  }

  async function show(link) {
    hide();
    shown = link;
    const nodes = await content(link);
    if (shown !== link) return; // the reader has gone on
    if (nodes.length === 0) return hide();
    tip.replaceChildren(...nodes);
    tip.hidden = false;
    link.setAttribute("aria-describedby", tip.id);
    place();
    if (!tip.querySelector("mjx-container")) await window.MathJax?.typesetPromise?.([tip]);
    place();
  }

  function later(action) {
    clearTimeout(waiting);
    waiting = setTimeout(action, PATIENCE);
  }

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const link = event.target.closest(LINKS);
    if (link && link !== shown) later(() => show(link));
    else if (link || tip.contains(event.target)) clearTimeout(waiting); // the pointer may rest on the preview
    else if (shown && shown !== document.activeElement) later(hide);
    else clearTimeout(waiting);
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.matches(LINKS) && event.target.matches(":focus-visible")) show(event.target);
    else hide();
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("scroll", place, { passive: true, capture: true });
  document.addEventListener("DOMContentLoaded", () => document.body.append(tip));
})();
