/* Figures that a reader can work, with a pointer or with keys. A cell of the page computed all numbers; here they only
   get a place on the screen. Without this script, the page shows the table that stands in the same place. */
(() => {
  "use strict";

  const SVG = new Set(["svg", "g", "path", "line", "text", "circle"]);
  const MARKERS = {  // as matplotlib names them; inside a circle of radius 6 or a little more
    o: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", s: "M-4.6-4.6h9.2v9.2h-9.2z", "^": "M0-6l5.6 10h-11.2z",
    v: "M0 6l5.6-10h-11.2z", "<": "M-6 0l10-5.6v11.2z", ">": "M6 0l-10-5.6v11.2z", D: "M0-6l6 6l-6 6l-6-6z", d: "M0-6l3.6 6l-3.6 6l-3.6-6z",
    P: "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z", X: "M0-2.8l2.8-2.8l2.8 2.8l-2.8 2.8l2.8 2.8l-2.8 2.8l-2.8-2.8l-2.8 2.8l-2.8-2.8l2.8-2.8l-2.8-2.8l2.8-2.8z",
    h: "M0 -6L5.2 -3L5.2 3L0 6L-5.2 3L-5.2 -3z", H: "M6 0L3 5.2L-3 5.2L-6 0L-3 -5.2L3 -5.2z",
    p: "M0 -6L5.7 -1.9L3.5 4.9L-3.5 4.9L-5.7 -1.9z", "*": "M0 -6.5L1.6 -2.2L6.2 -2L2.6 0.8L3.8 5.3L0 2.7L-3.8 5.3L-2.6 0.8L-6.2 -2L-1.6 -2.2z",
  };
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let names = 0;

  function make(tag, attributes = {}, ...children) {
    const element = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const number = (value, digits) => value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
  const whole = (value) => Math.round(value).toLocaleString("en");
  const short = (value) => String(Number(value.toPrecision(3)));

  /* A slider over the whole numbers up to a last one. `said` is what a screen reader says of a value. */
  function slider(label, last, start, said, changed) {
    const id = `interactive-${++names}`;
    const input = make("input", { type: "range", id, min: 0, max: last, step: 1, value: start });
    const output = make("output", { for: id });
    const move = () => {
      output.textContent = changed(Number(input.value));
      input.setAttribute("aria-valuetext", said(Number(input.value)));
    };
    input.addEventListener("input", move);
    return { input, move, row: make("div", { class: "interactive-row" }, make("label", { for: id }, label), input, output) };
  }

  /* Axes in a box as wide as its place, drawn anew when that changes. `draw` gets the drawing and the two scales. */
  function chart(host, { x, y, height = 300, right = 12, across, up, label }, draw) {
    let width = 0;
    function redraw() {
      const [left, top, bottom] = [48, 24, height - 44];
      const place = (range, from, to) => (value) => from + ((value - range[0]) / (range[1] - range[0])) * (to - from);
      const [X, Y] = [place(x, left, width - right), place(y, bottom, top)];
      const svg = make("svg", { width, height, role: "group", "aria-label": label });
      for (const tick of ticks(x, width / 90)) {
        svg.append(make("line", { class: "grid", x1: X(tick), x2: X(tick), y1: top, y2: bottom }));
        svg.append(make("text", { x: X(tick), y: bottom + 18, "text-anchor": "middle" }, short(tick)));
      }
      for (const tick of ticks(y, height / 60)) {
        svg.append(make("line", { class: "grid", x1: left, x2: width - right, y1: Y(tick), y2: Y(tick) }));
        svg.append(make("text", { x: left - 7, y: Y(tick) + 4, "text-anchor": "end" }, short(tick).replace("-", "−")));
      }
      svg.append(make("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, across));
      svg.append(make("text", { x: 4, y: 13 }, up));
      draw(svg, X, Y);
      host.replaceChildren(svg);
    }
    new ResizeObserver(() => {
      const now = Math.floor(host.clientWidth);
      if (now > 0 && now !== width) { width = now; redraw(); }
    }).observe(host);
    return () => width && redraw();
  }

  function ticks([low, high], wanted) {
    const rough = (high - low) / Math.max(wanted, 2), power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(k * step);
    return found;
  }

  const line = (points) => "M" + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");

  /* The optimum at each KL coefficient: its likeliest sentences and three numbers, beside the initial policy's. */
  function prices(panel, { initial, steps, sentences, before }) {
    const widest = Math.max(...steps.flatMap((step) => step.chances));
    const percent = (share) => `${number(100 * share, 2)} %`;
    const bars = make("ol", { class: "interactive-bars" });
    const body = make("tbody");
    const column = make("th", { scope: "col" });
    const head = make("thead", {}, make("tr", {}, make("td"), make("th", { scope: "col" }, "initial policy"), column));
    const said = (k) => {
      const { beta, reward, nats, sentences: effective, likeliest, chances } = steps[k];
      return `${short(beta)}: gold ${number(reward, 3)}, ${number(nats, 2)} nats, ${whole(effective)} effective sentences; ` +
        `likeliest: ${sentences[likeliest[0]]} ${percent(chances[0])}`;
    };
    function show(k) {
      const step = steps[k];
      column.textContent = `optimum at β = ${short(step.beta)}`;
      body.replaceChildren(...[
        ["gold, on average", (at) => number(at.reward, 3)],
        ["nats from the initial policy", (at) => number(at.nats, 2)],
        ["effective sentences", (at) => whole(at.sentences)],
      ].map(([name, read]) => make("tr", {}, make("th", { scope: "row" }, name),
        make("td", {}, read(initial)), make("td", {}, read(step)))));
      bars.replaceChildren(...step.likeliest.map((sentence, place) => {
        const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span", { class: "now" }), make("span", { class: "before" }));
        bar.children[0].style.width = `${(100 * step.chances[place]) / widest}%`;
        bar.children[1].style.left = `${(100 * before[sentence]) / widest}%`;
        return make("li", {}, make("span", { class: "text" }, sentences[sentence]), bar,
          make("span", { class: "share" }, percent(step.chances[place])));
      }));
      return short(step.beta);
    }
    const { row, move } = slider("KL coefficient β", steps.length - 1, Math.floor(steps.length / 2), said, show);
    panel.append(row,
      make("table", { class: "interactive-numbers" }, head, body), bars,
      make("p", { class: "interactive-note" }, "Bar: probability at this β; thin line: under the initial policy. One scale for all β."));
    move();
  }

  /* One run under each of two baselines, up to an episode. */
  function baselines(panel, { arms, rewards, runs }) {
    const last = runs[0].played.length, group = `interactive-${++names}`;
    const all = runs.flatMap((run) => run.logits.flat());
    let run = runs[0], now = last, timer = 0;
    const choice = make("fieldset", {}, make("legend", {}, "Baseline"));
    const host = make("div", { class: "interactive-chart" });
    const told = make("p", { class: "interactive-told" });
    const say = (t) => {
      const state = `Logits have moved by ${run.logits.map((logit) => number(logit[t], 1)).join(" and ")}: gap ${number(run.gap[t], 1)}, ` +
        `π(${arms[0]}) = ${number(run.chance[t], 3)}.`;
      if (t === 0) return `Before the first episode. ${state}`;
      const arm = run.played[t - 1], error = run.errors[t - 1];
      return `Episode ${t}: ${arms[arm]}. Reward ${number(rewards[arm], 1)}, expected ${number(rewards[arm] - error, 1)}, ` +
        `error ${number(error, 1)}. ${state}`;
    };
    const redraw = chart(host, {
      x: [0, last], y: [Math.min(...all) - 0.2, Math.max(...all) + 0.2], right: 68,
      across: "episode", up: "logit, from its start", label: "How far the logits of both words have come, over episodes",
    }, (svg, X, Y) => {
      run.logits.forEach((logit, arm) => {
        let path = `M${X(0)} ${Y(logit[0])}`;
        for (let t = 1; t <= now; t++) path += `H${X(t)}V${Y(logit[t])}`;
        svg.append(make("path", { class: "curve", d: path, stroke: run.color, "stroke-dasharray": arm ? "6 4" : "none" }));
        svg.append(make("circle", { cx: X(now), cy: Y(logit[now]), r: 4, fill: run.color }));
        const apart = Math.abs(Y(run.logits[0][now]) - Y(run.logits[1][now])) < 14 ? (arm ? 9 : -7) : 0;
        svg.append(make("text", { x: X(now) + 8, y: Y(logit[now]) + 4 + apart }, arms[arm]));
      });
    });
    function show(t) {
      now = t;
      told.textContent = say(t);
      redraw();
      return String(t);
    }
    const { row, input, move } = slider("Episode", last, last, say, show);
    runs.forEach((one, k) => {
      const radio = make("input", { type: "radio", name: group });
      radio.checked = k === 0;
      radio.addEventListener("change", () => { run = one; move(); });
      choice.append(make("label", {}, radio, ` ${one.name}`));
    });
    const play = make("button", { type: "button", class: "btn btn-outline-primary btn-sm" }, "Play");
    const stop = () => { clearInterval(timer); timer = 0; play.textContent = "Play"; };
    play.addEventListener("click", () => {
      if (timer) return stop();
      if (now === last) input.value = 0;
      play.textContent = "Stop";
      timer = setInterval(() => {
        input.value = Number(input.value) + 1;
        move();
        if (now === last) stop();
      }, 100);
    });
    input.addEventListener("pointerdown", stop);
    play.hidden = still.matches;
    still.addEventListener("change", () => { stop(); play.hidden = still.matches; });
    row.append(play);
    panel.append(choice, row, host, told);
    move();
  }

  const shape = ({ color, marker, fillstyle }) => make("path", {
    d: MARKERS[marker],
    style: fillstyle === "none" ? `fill: var(--pst-color-background); stroke: ${color}; stroke-width: 1.8` : `fill: ${color}`,
  });

  /* Policies in the plane of divergence and reward; each says its numbers when it is pointed at or focused. */
  function frontier(panel, { points, curve, looks }) {
    const order = [...points].sort((a, b) => a.nats - b.nats);
    const high = Math.max(...points.map((point) => point.nats)) * 1.05;
    const all = [...points, ...curve.reward.map((reward) => ({ reward }))].map((point) => point.reward);
    const range = [Math.floor(20 * Math.min(...all)) / 20, Math.max(...all) + 0.02];
    const host = make("div", { class: "interactive-chart" });
    const tip = make("div", { class: "interactive-tip", "aria-hidden": "true", hidden: "" });
    const say = (point) =>
      `${point.label}: reward ${number(point.reward, 3)}, ${number(point.nats, 2)} nats, ${whole(point.sentences)} effective sentences`;
    const hide = () => { tip.hidden = true; };
    let current = 0;
    chart(host, {
      x: [0, high], y: range, height: 360, across: "nats from the initial policy", up: "reward",
      label: "Policies by divergence and reward; arrow keys go from one to the next",
    }, (svg, X, Y) => {
      const within = curve.nats.map((nats, k) => [X(nats), Y(curve.reward[k])]).filter(([x]) => x <= X(high));
      svg.append(make("path", { class: "optima", d: line(within) }));
      const show = (point) => {
        tip.textContent = say(point);
        tip.hidden = false;
        const left = X(point.nats) - tip.offsetWidth / 2, above = Y(point.reward) - tip.offsetHeight - 12;
        tip.style.left = `${Math.max(0, Math.min(left, host.clientWidth - tip.offsetWidth))}px`;
        tip.style.top = `${above > 0 ? above : Y(point.reward) + 12}px`;
      };
      const marks = order.map((point, k) => {
        const mark = make("g", {
          class: "mark", role: "img", tabindex: k === current ? 0 : -1, "aria-label": say(point),
          transform: `translate(${X(point.nats)} ${Y(point.reward)})`,
        }, shape(looks[point.series]));
        mark.addEventListener("focus", () => show(point));
        mark.addEventListener("blur", hide);
        mark.addEventListener("keydown", (event) => {
          const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
          if (event.key === "Escape") hide();
          if (!step) return;
          event.preventDefault();
          marks[current].setAttribute("tabindex", -1);
          current = (k + step + marks.length) % marks.length;
          marks[current].setAttribute("tabindex", 0);
          marks[current].focus();
        });
        return mark;
      });
      svg.append(...marks);
      const pointed = (event) => {  // at the nearest of them, since they may overlap
        const corner = svg.getBoundingClientRect();
        const away = order.map((point) => Math.hypot(X(point.nats) + corner.left - event.clientX, Y(point.reward) + corner.top - event.clientY));
        const nearest = away.indexOf(Math.min(...away));
        if (away[nearest] < 16) show(order[nearest]); else hide();
      };
      for (const event of ["pointermove", "click"]) svg.addEventListener(event, pointed);
      svg.addEventListener("pointerleave", hide);
    });
    const legend = make("ul", { class: "interactive-legend" });
    for (const series of new Set(points.map((point) => point.series))) {
      const mark = make("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" }, shape(looks[series]));
      legend.append(make("li", {}, mark, series));
    }
    panel.append(legend, make("div", { class: "interactive-place" }, host, tip));
  }

  const kinds = { prices, baselines, frontier };
  function begin() {
    for (const root of document.querySelectorAll("div.interactive")) {
      const panel = make("div", { class: "interactive-panel" });
      kinds[root.dataset.kind](panel, JSON.parse(root.querySelector("script").textContent));
      const table = root.querySelector(".pst-scrollable-table-container");
      const folded = make("details", {}, make("summary", {}, "Numbers as a table"));
      table.before(folded);
      folded.append(table);
      root.prepend(panel);
    }
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
