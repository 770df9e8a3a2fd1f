const all = (where, what) => [...where.querySelectorAll(what)], root = document.documentElement;
const tip = document.getElementById("tip"), dot = document.getElementById("dot");

// light and dark
document.querySelector(".theme").onclick = () => {
  const dark = getComputedStyle(root).getPropertyValue("--paper").trim() === "{{ dark.paper }}";
  root.dataset.theme = dark ? "light" : "dark";
};

// optimizers that are brought forward
const rule = document.head.appendChild(document.createElement("style"));
for (const button of all(document, ".key button")) button.onclick = () => {
  button.ariaPressed = button.ariaPressed !== "true";
  const chosen = all(document, ".key [aria-pressed=true]").map(b => `:not([data-s="${b.dataset.k}"])`);
  rule.textContent = chosen.length ? `[data-s]${chosen.join("")}{opacity:.13}` : "";
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
const escaped = text => text.replace(/\\/g, "\\textbackslash ").replace(/[&%$#_{}]/g, "\\$&").replace(/~/g, "\\textasciitilde ").replace(/\^/g, "\\textasciicircum ").replace(/[×≥≤]/g, c => ({"×": "$\\times$", "≥": "$\\geq$", "≤": "$\\leq$"})[c]);
const forms = {
  csv: rows => rows.map(row => row.map(quoted).join(",")).join("\n"),
  markdown: rows => [rows[0], rows[0].map(() => "---"), ...rows.slice(1)].map(row => `| ${row.map(c => c.replaceAll("|", "\\|")).join(" | ")} |`).join("\n"),
  latex: (rows, right) => [`\\begin{tabular}{${right.map(r => r ? "r" : "l").join("")}}`, "\\toprule",
    ...rows.map((row, i) => row.map(escaped).join(" & ") + " \\\\" + (i ? "" : "\n\\midrule")), "\\bottomrule", "\\end{tabular}"].join("\n"),
};
const told = (button, words) => { const was = button.textContent; button.textContent = words; setTimeout(() => button.textContent = was, 1200); };
async function copy(text) {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text; area.select(); document.execCommand("copy"); area.remove();
  }
}
for (const button of all(document, "[data-copy]")) button.onclick = async () => {
  const table = button.closest(".table").querySelector("table"), clean = c => c.textContent.replace(/\s+/g, " ").trim();
  const rows = all(table, "tr").map(row => [...row.cells].map(clean));
  await copy(forms[button.dataset.copy](rows, all(table, "th").map(th => th.classList.contains("n"))) + "\n");
  told(button, "copied");
};

// figures: saving
function drawn(svg) {
  const style = getComputedStyle(root), copied = svg.cloneNode(true), [, , w, h] = svg.getAttribute("viewBox").split(" ");
  copied.setAttribute("width", w); copied.setAttribute("height", h);
  copied.setAttribute("font-family", "Helvetica Neue, Arial, Liberation Sans, sans-serif");
  const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  paper.setAttribute("width", w); paper.setAttribute("height", h); paper.setAttribute("fill", "var(--paper)");
  copied.prepend(paper);
  const text = new XMLSerializer().serializeToString(copied).replace(/var\((--\w+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  return { text, w: +w, h: +h };
}
function save(name, href) { const a = document.createElement("a"); a.download = name; a.href = href; a.click(); }
const address = (text, type) => `data:${type};charset=utf-8,${encodeURIComponent(text)}`;
for (const button of all(document, "[data-save]")) button.onclick = () => {
  const chart = button.closest("figure").querySelector(".chart:not([hidden])"), name = `${chart.dataset.name}.${button.dataset.save}`;
  if (button.dataset.save === "csv") {
    const data = chart.querySelector("[type='text/csv']");
    return data ? save(name, address(data.textContent.trim() + "\n", "text/csv")) : told(button, "none");
  }
  const { text, w, h } = drawn(chart.querySelector("svg"));
  if (button.dataset.save === "svg") return save(name, address(text, "image/svg+xml"));
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas"); canvas.width = 4 * w; canvas.height = 4 * h;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    save(name, canvas.toDataURL());
  };
  image.src = address(text, "image/svg+xml");
};

// figures: values of what is pointed at
for (const chart of all(document, ".chart")) {
  let marks;
  const svg = chart.querySelector("svg");
  const hide = () => { tip.hidden = dot.hidden = true; };
  svg.onpointerleave = hide;
  svg.onpointermove = svg.onpointerdown = event => {
    marks ??= JSON.parse(chart.querySelector("script").textContent);
    const matrix = svg.getScreenCTM(), at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    let best, least = 900;
    for (const mark of marks) { const d = (mark[0] - at.x) ** 2 + (mark[1] - at.y) ** 2; if (d < least) { least = d; best = mark; } }
    if (!best) return hide();
    const place = new DOMPoint(best[0], best[1]).matrixTransform(matrix);
    tip.textContent = best[2]; tip.hidden = dot.hidden = false;
    dot.style.left = `${place.x}px`; dot.style.top = `${place.y}px`;
    const x = place.x + 14 + tip.offsetWidth > innerWidth ? place.x - 14 - tip.offsetWidth : place.x + 14;
    tip.style.left = `${Math.max(4, x)}px`; tip.style.top = `${Math.max(4, place.y - tip.offsetHeight - 10)}px`;
  };
}
