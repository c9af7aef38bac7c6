"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const live = document.documentElement.classList;
  const all = (query) => [...document.querySelectorAll(query)];
  const make = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  live.add("live");

  // What is looked at: parameters of the charts, and the table's filters and order. The address
  // holds what is not as it was at the start.
  const filters = { q: "", script: "", family: "", standing: "", method: "", at: "" };
  const start = { ...page.start, ...filters, at: page.start.sparsity ?? "", sort: "rise", down: true };
  const state = { ...start };

  function read() {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const [name, first] of Object.entries(start)) {
      const text = asked.get(name);
      const known = (page.choices[name] ?? []).find((value) => String(value) === text);
      if (text === null) state[name] = first;
      else if (name in page.choices) state[name] = known ?? first;
      else state[name] = name === "down" ? text === "true" : name === "at" && text ? Number(text) : text;
    }
  }

  function write() {
    const changed = Object.keys(start).filter((name) => state[name] !== start[name]);
    const asked = new URLSearchParams(changed.map((name) => [name, state[name]]));
    history.replaceState(null, "", `#${asked}`);
  }

  // Charts.
  const views = {};
  const light = (spec) =>
    JSON.parse(JSON.stringify(spec).replace(/var\(--(\w+)\)/g, (_, name) => page.light[name]));

  function prepared(id, width) {
    const spec = structuredClone(page.charts[id]);
    const name = spec.data.name;
    spec.datasets = { [name]: page.data[name] };
    for (const one of spec.params) {
      if (one.name === "narrow") one.value = width < 560;
      else if (one.name in page.start) one.value = state[one.name];
    }
    if (spec.facet) {
      const { least, most } = spec.usermeta;
      spec.columns = Math.max(1, Math.min(most, Math.floor(width / least)));
      spec.spec.width = Math.floor((width - 56 - 24 * (spec.columns - 1)) / spec.columns);
    }
    return spec;
  }

  const options = {
    ast: true, actions: false, renderer: "svg", defaultStyle: false, mode: "vega-lite",
    config: page.config, logLevel: 1,
  };

  async function draw(id) {
    const box = document.querySelector(`[data-chart="${id}"]`);
    const width = box.clientWidth;
    box.style.minHeight = `${box.clientHeight}px`;
    views[id]?.finalize();
    views[id] = (await window.vegaEmbed(box, prepared(id, width), options)).view;
    // The chart is one picture with one description; its numbers are in the table.
    box.querySelector("svg").setAttribute("aria-hidden", "true");
    box.style.minHeight = "";
  }

  async function redraw(names) {
    const concerned = Object.entries(views).filter(([id]) =>
      page.charts[id].params.some((one) => names.includes(one.name)));
    await Promise.all(concerned.map(([id, view]) => {
      for (const { name } of page.charts[id].params) {
        if (names.includes(name)) view.signal(name, state[name]);
      }
      return view.runAsync();
    }));
  }

  async function taken(id, kind) {
    const box = document.querySelector(`[data-chart="${id}"]`);
    const spec = light(prepared(id, box.clientWidth));
    if (spec.width === "container") spec.width = box.clientWidth - 150;
    spec.background = page.light.ground;
    spec.padding = 12;
    const { view, finalize } = await window.vegaEmbed(make("div"), spec, {
      ...options, config: light({ ...page.config, background: page.light.ground }),
    });
    const address = kind === "png" ? await view.toImageURL("png", 2)
      : `data:image/svg+xml;charset=utf-8,${encodeURIComponent(await view.toSVG())}`;
    finalize();
    save(address, `${id}.${kind}`);
  }

  function save(address, name) {
    const link = make("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
  }

  // The table.
  const share = (value) => (value == null ? "none" : `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)}%`);
  const certain = (row) => row.low != null && (row.low > 0 || row.high < 0);
  const plain = (value) => (value == null ? "" : value.toPrecision(4));
  const columns = [
    { key: "language", title: "language", text: (row) => row.language },
    { key: "script", title: "script", text: (row) => row.script },
    { key: "family", title: "family", text: (row) => row.family },
    { key: "standing", title: "calibration", text: (row) => row.standing },
    { key: "method", title: "method", text: (row) => row.method },
    { key: "sparsity", title: "sparsity", number: true, text: (row) => `${+(100 * row.sparsity).toFixed(2)}%` },
    { key: "rise", title: "rise", number: true, text: (row) => share(row.rise) + (certain(row) ? "" : "°") },
    { key: "low", title: "95% interval", number: true,
      text: (row) => (row.low == null ? "none" : `${share(row.low)} to ${share(row.high)}`) },
    { key: "perplexity", title: "perplexity", number: true, text: (row) => plain(row.perplexity) },
    { key: "bits", title: "bits per byte", number: true, text: (row) => plain(row.bits) },
  ].filter(({ key }) => page.data.rises.some((row) => row.tag && row[key] != null))
    .filter(({ key }) => key !== "sparsity" || page.choices.sparsity.length > 1)
    .filter(({ key }) => key !== "method" || new Set(page.data.rises.map((row) => row.method)).size > 1);
  const single = ["script", "family", "standing", "method"];
  const mostRows = 400;

  function found() {
    const words = state.q.trim().toLowerCase();
    return page.data.rises.filter((row) => row.tag && (row.model === state.model)
      && (state.at === "" || row.sparsity === state.at)
      && single.every((name) => !state[name] || row[name] === state[name])
      && (!words || `${row.tag} ${row.language}`.toLowerCase().includes(words)));
  }

  function sorted(rows) {
    const sign = state.down ? -1 : 1;
    return rows.toSorted((a, b) => {
      const [one, other] = [a[state.sort], b[state.sort]];
      if (one == null || other == null) return (one == null) - (other == null);
      return sign * (typeof one === "string" ? one.localeCompare(other) : one - other);
    });
  }

  function fill() {
    const rows = sorted(found());
    document.querySelector("#rows tbody").replaceChildren(...rows.slice(0, mostRows).map((row) =>
      make("tr", {}, ...columns.map(({ number, text }, place) => place
        ? make("td", number ? { class: "n" } : {}, text(row))
        : make("th", { scope: "row" }, text(row))))));
    const cut = rows.length > mostRows ? `; the first ${mostRows} are shown, the CSV has all` : "";
    document.getElementById("count").textContent =
      `${rows.length} ${rows.length === 1 ? "row" : "rows"}${cut}. ° marks what is not significant.`;
    for (const head of all("#rows thead th")) {
      const own = head.dataset.key === state.sort;
      if (own) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      head.querySelector("span").textContent = own ? (state.down ? " ↓" : " ↑") : "";
    }
  }

  function furnish() {
    document.querySelector("#rows thead").append(make("tr", {}, ...columns.map((column) => {
      const button = make("button", { type: "button" }, column.title, make("span", { "aria-hidden": "true" }));
      button.addEventListener("click", () => {
        const again = state.sort === column.key;
        set({ sort: column.key, down: again ? !state.down : Boolean(column.number) });
      });
      const head = make("th", { scope: "col", "data-key": column.key, ...(column.number ? { class: "n" } : {}) }, button);
      return head;
    })));
    const form = document.querySelector(".filters");
    const search = make("input", { type: "search", name: "q", autocomplete: "off" });
    form.append(make("label", {}, "language", search));
    for (const name of [...single, "at"]) {
      const field = name === "at" ? "sparsity" : name;
      const values = [...new Set(page.data.rises.filter((row) => row.tag).map((row) => row[field]))];
      if (values.length < 2 && name !== "standing") continue;
      if (field !== "sparsity" && field !== "method") values.sort();
      const said = (value) => (name === "at" ? `${+(100 * value).toFixed(2)}%` : value);
      form.append(make("label", {}, field === "standing" ? "calibration" : field,
        make("select", { name }, make("option", { value: "" }, "all"),
          ...values.map((value) => make("option", { value }, said(value))))));
    }
    form.addEventListener("input", ({ target }) => {
      const value = target.name === "at" && target.value ? Number(target.value) : target.value;
      set({ [target.name]: value });
    });
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  function csv() {
    const names = ["model", "method", "sparsity", "tag", "language", "script", "family", "standing",
      "rise", "low", "high", "perplexity", "bits"];
    const cell = (value) => {
      const text = String(value ?? "");
      // A name that a spreadsheet would run as a formula is made text.
      const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
      return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    const lines = [names, ...sorted(found()).map((row) => names.map((name) => row[name]))];
    return `${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
  }

  function handed(text, name, type) {
    const address = URL.createObjectURL(new Blob([text], { type }));
    save(address, name);
    URL.revokeObjectURL(address);
  }

  // Controls.
  function show() {
    for (const field of all("form [name]")) {
      if (field.type === "radio") field.checked = field.value === String(state[field.name]);
      else if (field.value !== String(state[field.name])) field.value = String(state[field.name]);
    }
  }

  function set(changes) {
    if ("sparsity" in changes && state.at !== "") changes.at = changes.sparsity;
    Object.assign(state, changes);
    write();
    show();
    fill();
    redraw(Object.keys(changes));
  }

  function listen() {
    for (const field of all("form [name]")) {
      if (!(field.name in page.choices)) continue;
      field.addEventListener("change", () => {
        const value = page.choices[field.name].find((one) => String(one) === field.value);
        set({ [field.name]: value });
      });
    }
    for (const form of all("form")) form.addEventListener("submit", (event) => event.preventDefault());
    for (const button of all("[data-take]")) {
      button.addEventListener("click", () => taken(button.dataset.of, button.dataset.take));
    }
    document.getElementById("csv").addEventListener("click", () => handed(csv(), "languages.csv", "text/csv"));
    document.getElementById("bib")?.addEventListener("click", () =>
      handed(document.getElementById("bibtex").textContent, "study.bib", "application/x-bibtex"));
    document.getElementById("link")?.addEventListener("click", async ({ target }) => {
      write();
      try {
        await navigator.clipboard.writeText(location.href);
        target.textContent = "Copied";
      } catch {
        target.textContent = "It is in the address bar";
      }
    });
    // A link within the page moves there and leaves the address, which holds the view.
    for (const link of all('a[href^="#"]')) {
      link.addEventListener("click", (event) => {
        const target = document.querySelector(link.getAttribute("href"));
        event.preventDefault();
        if (target.tagName === "DETAILS") target.open = true;
        if (!target.hasAttribute("tabindex")) target.setAttribute("tabindex", "-1");
        target.focus({ preventScroll: true });
        target.scrollIntoView();
      });
    }
    window.addEventListener("hashchange", () => { read(); show(); fill(); redraw(Object.keys(start)); });
    let width = window.innerWidth;
    let waiting = 0;
    window.addEventListener("resize", () => {
      if (window.innerWidth === width) return;
      width = window.innerWidth;
      clearTimeout(waiting);
      waiting = setTimeout(() => Object.keys(page.charts).forEach(draw), 150);
    });
  }

  read();
  furnish();
  show();
  fill();
  listen();
  Promise.all(Object.keys(page.charts).map(draw)).then(() => live.add("drawn"));
})();
