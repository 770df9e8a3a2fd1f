const all = (where, what) => [...where.querySelectorAll(what)], root = document.documentElement;
const tip = document.getElementById("tip"), dot = document.getElementById("dot");

// light and dark
document.querySelector(".theme").onclick = () => {
  const dark = getComputedStyle(root).getPropertyValue("--paper").trim() === "{{ dark.paper }}";
  root.dataset.theme = dark ? "light" : "dark";
};

// optimizers that are brought forward; those without a colour to themselves take one that is free
const rule = document.head.appendChild(document.createElement("style"));
const colours = all(document, '.key [data-own="1"]').map(b => b.dataset.k);
for (const button of all(document, ".key button")) button.onclick = () => {
  button.ariaPressed = button.ariaPressed !== "true";
  const chosen = all(document, ".key [aria-pressed=true]"), places = chosen.map(b => b.dataset.k);
  const free = colours.filter(k => !places.includes(k)), rules = [];
  for (const b of all(document, '.key [data-own="0"]')) b.firstChild.style.background = "var(--quiet)";
  for (const b of chosen) if (b.dataset.own === "0") {
    const of = `svg [data-s="${b.dataset.k}"]`, colour = free.length ? `var(--s${free.shift()})` : "var(--ink)";
    b.firstChild.style.background = colour;
    rules.push(`${of} path:not([style*="fill:var"]){stroke:${colour}!important;stroke-width:1.7!important} ${of} text{fill:${colour}!important}`);
  }
  if (chosen.length) rules.push(`[data-s]${places.map(k => `:not([data-s="${k}"])`).join("")}{opacity:.13}`);
  rule.textContent = rules.join(" ");
};

// steps or seconds: one choice for all figures that have it
for (const button of all(document, ".switch button")) button.onclick = () => {
  const wanted = button.dataset.variant;
  for (const figure of all(document, "figure")) {
    if (!all(figure, ".switch button").some(b => b.dataset.variant === wanted)) continue;
    for (const b of all(figure, ".switch button")) b.ariaPressed = b.dataset.variant === wanted;
    for (const chart of all(figure, ".chart")) chart.hidden = chart.dataset.variant !== wanted;
  }
};

// tables: sorting and copying
for (const button of all(document, "th button")) button.onclick = () => {
  const th = button.parentNode, table = th.closest("table"), at = th.cellIndex;
  const down = th.ariaSort === "ascending";
  for (const other of all(table, "th")) other.removeAttribute("aria-sort");
  th.ariaSort = down ? "descending" : "ascending";
  const key = row => { const c = row.cells[at]; return c.dataset.v === undefined ? c.innerText : +c.dataset.v; };
  const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
    : typeof a === "number" ? -1 : typeof b === "number" ? 1 : a.localeCompare(b);
  const rows = all(table.tBodies[0], "tr").map(row => [key(row), row]);
  rows.sort((a, b) => (down ? -1 : 1) * order(a[0], b[0]));
  table.tBodies[0].append(...rows.map(r => r[1]));
};
const quoted = text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
const lines = rows => rows.map(row => row.map(quoted).join(",")).join("\n") + "\n";
const told = (button, words) => { const was = button.textContent; button.textContent = words; setTimeout(() => button.textContent = was, 1200); };
async function copy(text) {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text; area.select(); document.execCommand("copy"); area.remove();
  }
}
for (const button of all(document, "[data-copy]")) button.onclick = async () => {
  const block = button.closest(".table"), clean = c => c.textContent.replace(/\s+/g, " ").trim();
  const form = JSON.parse(block.querySelector("script").textContent)[button.dataset.copy];
  const sorted = () => all(block, "tbody tr").map(row => form[1][row.dataset.i]);
  await copy(form ? [...form[0], ...sorted(), ...form[2], ""].join("\n") : lines(all(block, "tr").map(row => [...row.cells].map(clean))));
  told(button, "copied");
};

// the numbers of figures: a table by its columns
const read = {};
function numbers(id) {
  return read[id] ??= new Map(Object.entries(JSON.parse(document.getElementById(id).textContent)).map(([name, values]) =>
    [name, values.runs ? values.runs.flatMap((value, i, runs) => i % 2 ? [] : Array(runs[i + 1]).fill(value)) : values]));
}
function csv(columns) {
  const rows = [...columns.values()][0].map((_, i) => [...columns.values()].map(c => c[i] ?? ""));
  return lines([[...columns.keys()], ...rows].map(row => row.map(String)));
}
function number(v) {
  if (typeof v !== "number" || v === 0) return String(v);
  if (Math.abs(v) < 1e-3 || Math.abs(v) >= 1e5) return v.toExponential(3).replace(/e([+-])(\d)$/, "e$10$2");
  return v.toFixed(Math.max(0, 3 - Number(v.toExponential(3).split("e")[1])));
}
const plain = v => Number.isInteger(v) && Math.abs(v) < 1e6 ? String(v) : number(v);

// figures: saving, with what the page says around them
function drawn(chart) {
  const svg = chart.querySelector("svg"), { above, below } = JSON.parse(chart.querySelector("script").textContent);
  const style = getComputedStyle(root), copied = svg.cloneNode(true), [w, h] = svg.getAttribute("viewBox").split(" ").slice(2).map(Number);
  const top = above.length && 8 + 14 * above.length, height = top + h + (below.length && 4 + 9 * below.length);
  const put = (kind, looks, words = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(looks)) made.setAttribute(name, value);
    made.textContent = words;
    return made;
  };
  for (const [name, value] of Object.entries({ width: w, height, viewBox: `0 ${-top} ${w} ${height}`, "font-family": "Helvetica Neue, Arial, Liberation Sans, sans-serif" })) copied.setAttribute(name, value);
  copied.prepend(put("rect", { y: -top, width: w, height, fill: "var(--paper)" }));
  copied.append(...above.map((line, i) => put("text", { x: 3, y: 14 * (i + 1) - top, "font-size": 11, "font-weight": "bold", fill: "var(--ink)" }, line)));
  copied.append(...below.map((line, i) => put("text", { x: 3, y: h + 9 * (i + 1), "font-size": 7, fill: "var(--muted)" }, line)));
  const text = new XMLSerializer().serializeToString(copied).replace(/var\((--\w+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  return { text, w, h: height };
}
function save(name, href) { const a = document.createElement("a"); a.download = name; a.href = href; a.click(); }
const address = (text, type) => `data:${type};charset=utf-8,${encodeURIComponent(text)}`;
for (const button of all(document, "[data-save]")) button.onclick = () => {
  const chart = button.closest("figure").querySelector(".chart:not([hidden])"), name = `${chart.dataset.name}.${button.dataset.save}`;
  if (button.dataset.save === "csv") {
    return chart.dataset.numbers ? save(name, address(csv(numbers(chart.dataset.numbers)), "text/csv")) : told(button, "none");
  }
  const { text, w, h } = drawn(chart);
  if (button.dataset.save === "svg") return save(name, address(text, "image/svg+xml"));
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas"); canvas.width = 4 * w; canvas.height = 4 * h;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    save(name, canvas.toDataURL());
  };
  image.src = address(text, "image/svg+xml");
};

// figures: values of what is pointed at, whose line comes forward
function marked({ marks, points }) {
  for (const { data, by, whose, says, x, y } of points) {
    const columns = numbers(data), names = columns.get(by), known = [...new Set(names)];
    const along = ([column, log, a, b]) => columns.get(column).map(v => typeof v === "number" ? a + b * (log ? Math.log10(v) : v) : NaN);
    const inside = (place, [, , , , low, high]) => low - .5 <= place && place <= high + .5;
    const line = (i, [words, column, ends]) => {
      const [low, high] = ends.map(end => columns.get(end)[i]), value = `${words} ${plain(columns.get(column)[i])}`;
      return (low ?? high) === undefined || low === null || high === null ? value : `${value} [${number(low)}, ${number(high)}]`;
    };
    const xs = along(x), ys = along(y);
    names.forEach((name, i) => {
      if (!inside(xs[i], x) || !inside(ys[i], y)) return;
      marks.push([xs[i], ys[i], () => [name, ...says.map(part => line(i, part))].join("\n"), whose[known.indexOf(name)]]);
    });
  }
  return marks;
}
for (const chart of all(document, ".chart")) {
  let marks;
  const svg = chart.querySelector("svg");
  const forward = place => { for (const e of all(svg, ".behind")) e.classList.toggle("near", (e.dataset.s ?? e.dataset.o) === String(place)); };
  const hide = () => { tip.hidden = dot.hidden = true; forward(); };
  svg.onpointerleave = hide;
  svg.onpointermove = svg.onpointerdown = event => {
    marks ??= marked(JSON.parse(chart.querySelector("script").textContent));
    const matrix = svg.getScreenCTM(), at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    let best, least = 900;
    for (const mark of marks) { const d = (mark[0] - at.x) ** 2 + (mark[1] - at.y) ** 2; if (d < least) { least = d; best = mark; } }
    if (!best) return hide();
    const place = new DOMPoint(best[0], best[1]).matrixTransform(matrix), said = best[2];
    tip.textContent = typeof said === "string" ? said : said(); tip.hidden = dot.hidden = false;
    forward(best[3]);
    dot.style.left = `${place.x}px`; dot.style.top = `${place.y}px`;
    const x = place.x + 14 + tip.offsetWidth > innerWidth ? place.x - 14 - tip.offsetWidth : place.x + 14;
    tip.style.left = `${Math.max(4, x)}px`; tip.style.top = `${Math.max(4, place.y - tip.offsetHeight - 10)}px`;
  };
}
