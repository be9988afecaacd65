"use strict";
// Everything a person or a system wrote goes into the page by textContent, never as HTML.
const CHUNK = 40; // rows of the captions' table that are added at once
const COLUMNS = 8; // systems whose captions are shown at first

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function fill(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value }, text)));
}

// Tables: a click on a column's name sorts by it, numbers from the highest; what is quoted stays below

function makeSortable(table) {
  const headers = [...table.querySelectorAll("thead th")];
  headers.forEach((header, at) => {
    const button = element("button", { type: "button" }, header.textContent);
    button.addEventListener("click", () => {
      const before = header.getAttribute("aria-sort");
      const numeric = header.classList.contains("number");
      const descending = before ? before === "ascending" : numeric;
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      for (const body of table.tBodies) sortRows(body, at, numeric, descending);
    });
    header.replaceChildren(button);
  });
}

function sortRows(body, at, numeric, descending) {
  const sign = descending ? -1 : 1;
  const rows = [...body.rows].map((row) => {
    const text = row.cells[at].textContent.trim();
    return { row, text, number: parseFloat(text) };
  });
  rows.sort((a, b) => {
    if (!numeric) return sign * a.text.localeCompare(b.text);
    if (isNaN(a.number) || isNaN(b.number)) return isNaN(a.number) - isNaN(b.number); // no value: last
    return sign * (a.number - b.number);
  });
  body.append(...rows.map(({ row }) => row));
}

// Chart: a bar for each system, a line for its interval

const SVG = "http://www.w3.org/2000/svg";

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function ticks(low, high) {
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + step / 1e6; at++) found.push(+(at * step).toPrecision(6));
  return found;
}

function drawChart() {
  const set = data[byId("chart-set").value];
  const metric = byId("chart-metric").value;
  const bars = set.systems.filter((system) => metric in system.values);
  const [left, right, height] = [300, 840, 26];
  const ends = bars.flatMap((system) => system.values[metric]);
  const low = Math.min(0, ...ends);
  const high = Math.max(0, ...ends) || 1;
  const x = (value) => left + ((value - low) / (high - low)) * (right - left);
  const bottom = bars.length * height + 8;
  const label = set.metrics.find(([name]) => name === metric)[1];
  const svg = shape("svg", { viewBox: `0 0 920 ${bottom + 24}`, role: "img", "aria-label": `${label} of each system` });
  for (const tick of ticks(low, high)) {
    svg.append(shape("line", { class: "axis", x1: x(tick), x2: x(tick), y1: 0, y2: bottom }));
    svg.append(shape("text", { x: x(tick), y: bottom + 18, "text-anchor": "middle" }, tick));
  }
  bars.forEach(({ name, kind, values }, at) => {
    const [value, from, to] = values[metric];
    const [top, middle] = [at * height + 6, at * height + 6 + height / 2 - 3];
    const row = shape("g", {});
    const span = from === undefined ? "" : `, 95%: ${from.toFixed(2)} to ${to.toFixed(2)}`;
    row.append(shape("title", {}, `${name}: ${value.toFixed(2)}${span}`));
    row.append(shape("text", { x: left - 8, y: middle + 5, "text-anchor": "end" }, shorten(name, 42)));
    const [x1, x2] = [x(Math.min(0, value)), x(Math.max(0, value))];
    row.append(shape("rect", { class: kind, x: x1, y: top, width: x2 - x1, height: height - 8, rx: 2 }));
    if (from !== undefined) {
      row.append(shape("line", { class: "whisker", x1: x(from), x2: x(to), y1: middle, y2: middle }));
      for (const end of [from, to]) {
        row.append(shape("line", { class: "whisker", x1: x(end), x2: x(end), y1: middle - 5, y2: middle + 5 }));
      }
    }
    row.append(shape("text", { x: x(Math.max(0, value, to ?? 0)) + 6, y: middle + 5 }, value.toFixed(2)));
    svg.append(row);
  });
  byId("bars").replaceChildren(svg);
}

function shorten(text, limit) {
  const letters = [...text];
  return letters.length <= limit ? text : "…" + letters.slice(1 - limit).join("");
}

function chooseChartSet() {
  const before = byId("chart-metric").value;
  const metrics = data[byId("chart-set").value].metrics;
  fill(byId("chart-metric"), metrics);
  if (metrics.some(([name]) => name === before)) byId("chart-metric").value = before;
  drawChart();
}

// Captions: rows are made when they come near

let found = []; // utterances that fit the search
let columns = []; // numbers of the systems that are shown

function candidates(captions, faults) {
  const times = new Map();
  for (const caption of captions) times.set(caption, (times.get(caption) ?? 0) + 1);
  const items = [...times].map(([caption, count]) => {
    const own = faults.filter(([at]) => at === captions.indexOf(caption) + 1); // equal captions have equal faults
    const item = element("li", { dir: "auto" }, ...marked(caption || "(empty)", own.map((fault) => fault[3])));
    if (count > 1) item.append(element("span", { class: "times" }, ` ×${count}`));
    item.append(...own.map((fault) => element("span", { class: "fault" }, explained(fault))));
    return item;
  });
  return element("ul", {}, ...items);
}

// A caption in which the first occurrence of each of these words is marked
function marked(caption, words) {
  const places = words
    .map((word) => [caption.toLowerCase().indexOf(word), word.length])
    .filter(([start, length]) => start >= 0 && length)
    .sort(([a, n], [b, m]) => a - b || m - n);
  const parts = [];
  let end = 0;
  for (const [start, length] of places) {
    if (start < end) continue;
    parts.push(caption.slice(end, start), element("mark", {}, caption.slice(start, start + length)));
    end = start + length;
  }
  return [...parts, caption.slice(end)];
}

// "emotion: 高兴 (happy), not sad"; "transcription: 谁让你动我的电脑"
function explained([, , what, word, category, known]) {
  if (what === "attributes") return "names no attribute";
  return [what, word && `: ${word}`, category && ` (${category})`, known && `, not ${known}`].filter(Boolean).join("");
}

function utteranceRow(utterance) {
  const name = element("th", { scope: "row" }, element("code", {}, utterance.id));
  if (utterance.audio !== null) {
    const player = { controls: "", preload: "none", src: utterance.audio, "aria-label": `recording ${utterance.id}` };
    name.append(element("audio", player));
  }
  const references = utterance.references.map((text) => element("li", { dir: "auto" }, text));
  const reference = element("td", { class: "reference" }, element("ul", {}, ...references));
  const cells = columns.map((at) =>
    element("td", {}, candidates(utterance.captions[at], utterance.faults?.[at] ?? [])),
  );
  return element("tr", {}, name, reference, ...cells);
}

function addRows() {
  const body = byId("utterances").tBodies[0];
  const start = body.rows.length;
  body.append(...found.slice(start, start + CHUNK).map(utteranceRow));
  byId("more").hidden = body.rows.length >= found.length;
}

// A long name may be broken behind a slash or an underscore
function breakable(name) {
  return name.split(/(?<=[/_])/).flatMap((part) => [part, document.createElement("wbr")]);
}

function search() {
  const set = data[byId("set").value];
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  columns = [...byId("columns").querySelectorAll("input:checked")].map((box) => +box.value);
  const wanted = byId("faults").value;
  found = set.utterances.filter(({ id, references, captions, faults }) => {
    const wrong = ([, kind, what]) => wanted === "any" || wanted === kind || wanted === `${kind}: ${what}`;
    if (wanted && !columns.some((at) => faults[at].some(wrong))) return false;
    const text = [id, ...references, ...columns.flatMap((at) => captions[at])].join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  byId("found").textContent = `${found.length} of ${set.utterances.length} utterances`;
  const names = ["utterance", "by people", ...columns.map((at) => set.columns[at])];
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, ...breakable(name))));
  byId("utterances").tHead.replaceChildren(head);
  byId("utterances").tBodies[0].replaceChildren();
  byId("rows").scrollTop = 0;
  addRows();
}

// The hallucinations that occur in the set, each with its number of utterances
function fillFaults() {
  const counts = new Map();
  for (const { faults = [] } of data[byId("set").value].utterances) {
    const own = faults.flat().flatMap(([, kind, what]) => ["any", kind, `${kind}: ${what}`]);
    for (const one of new Set(own)) counts.set(one, (counts.get(one) ?? 0) + 1);
  }
  const names = [...counts.keys()].sort((a, b) => (b === "any") - (a === "any") || a.localeCompare(b));
  fill(byId("faults"), [["", "all captions"], ...names.map((name) => [name, `${name} (${counts.get(name)})`])]);
  byId("faults-label").hidden = !names.length;
}

function chooseSet() {
  const boxes = data[byId("set").value].columns.map((name, at) => {
    const box = element("input", { type: "checkbox", value: at });
    box.checked = at < COLUMNS;
    return element("label", {}, box, ` ${name}`);
  });
  byId("columns").replaceChildren(byId("columns").firstElementChild, ...boxes);
  fillFaults();
  search();
}

function start() {
  for (const table of document.querySelectorAll("#tables table")) makeSortable(table);

  const charted = Object.keys(data).filter((name) => data[name].metrics.length);
  fill(byId("chart-set"), charted.map((name) => [name, name]));
  byId("chart-set-label").hidden = charted.length < 2;
  byId("chart-set").addEventListener("change", chooseChartSet);
  byId("chart-metric").addEventListener("change", drawChart);
  byId("chart").hidden = !charted.length;
  if (charted.length) chooseChartSet();

  const captioned = Object.keys(data).filter((name) => data[name].utterances.length);
  fill(byId("set"), captioned.map((name) => [name, name]));
  byId("set-label").hidden = captioned.length < 2;
  byId("set").addEventListener("change", chooseSet);
  byId("columns").addEventListener("change", search);
  byId("search").addEventListener("input", search);
  byId("faults").addEventListener("change", search);
  byId("more").addEventListener("click", addRows);
  const near = { root: byId("rows"), rootMargin: "600px" };
  new IntersectionObserver((seen) => seen[0].isIntersecting && addRows(), near).observe(byId("more"));
  byId("captions").hidden = !captioned.length;
  if (captioned.length) chooseSet();

  const pauseOthers = (event) => {
    for (const player of document.querySelectorAll("audio")) if (player !== event.target) player.pause();
  };
  document.addEventListener("play", pauseOthers, true);
}

start();
