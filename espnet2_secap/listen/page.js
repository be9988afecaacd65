"use strict";
// One caption at a time, in three steps. Answers are kept in the browser, and sent if sec_listen serve gave the page.

const data = JSON.parse(document.querySelector("#data").textContent);
const text = data.text;
const find = (css) => document.querySelector(css);
const served = location.protocol.startsWith("http") && /\/t\/[\w-]+$/.test(location.pathname);
const key = ["sec_listen", data.design, data.group, served ? location.pathname : ""].join(" ");
const audio = find("#audio");
const counted = data.items.filter((item) => !item.practice);

// listener, consent, session, at (number of the item), heard: id -> true, answers: id -> answer, sent: id -> JSON that arrived
let state = read() ?? { session: token(), at: 0, heard: {}, answers: {}, sent: {} };
let since = 0; // when the item was shown, in ms
let sending = false;

function token() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((one) => one.toString(16).padStart(2, "0")).join("");
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function keep() {
  try {
    localStorage.setItem(key, JSON.stringify(state));
  } catch {
    warn(text.no_storage);
  }
}

function warn(message) {
  find("#warning").textContent = message;
  find("#warning").hidden = false;
}

function show(name) {
  for (const one of ["start", "item", "end"]) find(`#${one}`).hidden = one !== name;
}

// ---- the item

const current = () => data.items[state.at];
const answer = () => state.answers[current().id];

function blank() {
  return { item: current().id, emotion: null, match: null, score: null, seconds: 0, plays: 0, at: 0 };
}

function open(at) {
  count();
  audio.pause();
  state.at = at;
  if (at < data.items.length) state.answers[current().id] ??= blank();
  keep();
  if (at >= data.items.length) return finish();
  const item = current();
  show("item");
  since = performance.now();
  audio.src = data.audio[item.audio];
  find("#caption").textContent = item.caption;
  const done = at - (data.items.length - counted.length);
  find("#number").textContent = item.practice ? text.practice : `${done + 1} / ${counted.length}`;
  find("#progress").value = Math.max(0, done) / counted.length;
  scrollTo(0, 0);
  draw();
}

// The seconds that the item was on the screen.
function count() {
  if (find("#item").hidden || !answer()) return;
  const now = performance.now();
  if (!document.hidden) answer().seconds += (now - since) / 1000;
  since = now;
}

function draw() {
  const one = answer();
  const ready = Boolean(state.heard[current().id]);
  find("#listen-first").style.visibility = ready ? "hidden" : "visible";
  find("#play").textContent = audio.paused ? (ready ? text.again : text.play) : text.pause;
  const chosen = [one.emotion, one.match, one.score];
  const open = [ready, ready && one.emotion === true, ready && one.match === true];
  open.forEach((is, at) => {
    const step = find(`#step-${at + 1}`);
    step.disabled = !is;
    for (const button of step.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(is && JSON.parse(button.value) === chosen[at]));
    }
  });
  find("#score").textContent = one.score ? `${text.score}: ${one.score}` : "";
  find("#back").disabled = state.at === 0;
  find("#next").disabled = !one.score;
}

// The score follows from the steps: no emotion 1, another emotion 2, else 3 to 5 by intensity.
function choose(step, value) {
  const one = answer();
  if (!state.heard[current().id] || (step > 1 && one.emotion !== true) || (step > 2 && one.match !== true)) return;
  if ([one.emotion, one.match, one.score][step - 1] === value) return;
  if (step === 1) Object.assign(one, { emotion: value, match: null, score: value ? null : 1 });
  if (step === 2) Object.assign(one, { match: value, score: value ? null : 2 });
  if (step === 3) one.score = value;
  one.at = Date.now();
  keep();
  draw();
}

function rate(score) {
  choose(1, score > 1);
  if (score > 1) choose(2, score > 2);
  if (score > 2) choose(3, score);
}

// y and n answer the first step that is open and has no answer yet.
function reply(value) {
  const one = answer();
  if (one.emotion === null || (one.emotion === false && value)) choose(1, value);
  else if (one.emotion === true) choose(2, value);
}

function go(by) {
  if (find("#item").hidden || (by > 0 && !answer().score) || state.at + by < 0) return;
  open(state.at + by);
  send();
}

function play() {
  if (audio.paused) audio.play().catch(() => {});
  else audio.pause();
}

const onItem = (action) => () => { if (!find("#item").hidden) action(); };
audio.addEventListener("play", onItem(() => { answer().plays += 1; draw(); }));
audio.addEventListener("pause", onItem(draw));
audio.addEventListener("timeupdate", () => { find("#heard").value = audio.duration ? audio.currentTime / audio.duration : 0; });
audio.addEventListener("ended", onItem(() => { state.heard[current().id] = true; keep(); draw(); }));
audio.addEventListener("error", onItem(() => warn(text.no_audio)));

// ---- answers

const given = () => counted.map((item) => state.answers[item.id]).filter((one) => one?.score);

function packed(answers) {
  return {
    format: "sec_listen answers 1", design: data.design, group: data.group, listener: state.listener,
    session: state.session, answers: answers.map((one) => ({ ...one, seconds: Math.round(one.seconds * 10) / 10 })),
  };
}

function save() {
  const link = document.createElement("a");
  const content = JSON.stringify(packed(given()), null, 1) + "\n";
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.download = `answers_${(state.listener || "").replace(/[^\p{L}\p{N}-]/gu, "_")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

const core = (one) => JSON.stringify([one.emotion, one.match, one.score]);
const unsent = () => given().filter((one) => state.sent[one.item] !== core(one));

async function send() {
  if (!served || sending) return;
  sending = true;
  let again = 0;
  try {
    const waiting = unsent().slice(0, 200);
    if (waiting.length) {
      const cores = waiting.map((one) => [one.item, core(one)]);
      const reply = await fetch(`${location.pathname}/answers`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(packed(waiting)),
      });
      if (reply.ok) {
        for (const [item, sent] of cores) state.sent[item] = sent;
        keep();
        if (unsent().length) again = 1;
      } else if (reply.status >= 500 || reply.status === 429) {
        again = 5000;
      } else {
        warn(`${text.refused} ${(await reply.text()).slice(0, 200)}`);
      }
    }
  } catch {
    again = 5000; // the network is away
  }
  sending = false;
  tell();
  if (again) setTimeout(send, again);
}

// What another device of the same listener has sent.
async function fetchAnswers() {
  try {
    const reply = await fetch(`${location.pathname}/answers`);
    if (!reply.ok) return;
    const kept = await reply.json();
    state.listener = kept.listener;
    for (const one of kept.answers) {
      if (state.answers[one.item]?.score) continue;
      state.answers[one.item] = one;
      state.heard[one.item] = true;
      state.sent[one.item] = core(one);
    }
    const first = data.items.findIndex((item) => !item.practice && !state.answers[item.id]?.score);
    const any = data.items.some((item) => !item.practice && state.answers[item.id]?.score);
    if (any) state.at = Math.max(state.at, first < 0 ? data.items.length : first);
    keep();
  } catch {
    // offline: what this browser has is enough
  }
}

function tell() {
  const left = served ? unsent().length : 0;
  find("#sent").textContent = left ? `${left} ${text.not_sent}` : "";
  if (!find("#end").hidden) find("#what-now").textContent = served ? (left ? "" : text.all_sent) : text.send_file;
}

function finish() {
  show("end");
  find("#thanks").focus();
  tell();
  send();
}

// ---- the page

function build() {
  for (const one of document.querySelectorAll("[data-text]")) one.textContent = text[one.dataset.text];
  find("#instructions").append(...text.instructions.split("\n").map((line) => element("p", line)));
  find("#steps").append(...text.steps.map((line) => element("li", line)));
  find("#keys").textContent = text.keys;
  find("#consent-text").textContent = text.consent;
  find("#code-line").hidden = served;
  find("#code").required = !served;
  const choices = [[[true, text.yes], [false, text.no]], [[true, text.yes], [false, text.no]],
    [3, 4, 5].map((score) => [score, text.scores[score - 1]])];
  choices.forEach((buttons, at) => {
    const step = find(`#step-${at + 1}`);
    step.querySelector("legend").textContent = `${at + 1}. ${text.questions[at]}`;
    for (const [value, label] of buttons) {
      const button = element("button", label);
      button.type = "button";
      button.value = JSON.stringify(value);
      button.addEventListener("click", () => choose(at + 1, value));
      step.querySelector(".choices").append(button);
    }
  });
}

function element(name, content) {
  const made = document.createElement(name);
  made.textContent = content;
  return made;
}

find("#enter").addEventListener("submit", (event) => {
  event.preventDefault();
  state.listener ??= "";
  if (!served) state.listener = find("#code").value.trim();
  state.consent = served || state.listener !== "";
  if (state.consent) open(state.at);
});
find("#play").addEventListener("click", play);
find("#back").addEventListener("click", () => go(-1));
find("#next").addEventListener("click", () => go(1));
find("#save").addEventListener("click", save);
find("#look").addEventListener("click", () => open(data.items.length - 1));
document.addEventListener("click", (event) => {
  if (event.detail) event.target.closest?.("#item button")?.blur(); // so that the space bar plays again
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || find("#item").hidden) return;
  const keys = { y: () => reply(true), n: () => reply(false), ArrowRight: () => go(1), ArrowLeft: () => go(-1) };
  keys[" "] = event.target.closest?.("button") ? null : play;
  for (const score of [1, 2, 3, 4, 5]) keys[score] = () => rate(score);
  const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    const hidden = performance.now();
    if (!find("#item").hidden && answer()) answer().seconds += (hidden - since) / 1000;
    keep();
  }
  since = performance.now();
});
addEventListener("online", send);

build();
keep();
(served ? fetchAnswers() : Promise.resolve()).then(() => {
  if (state.consent) open(Math.min(state.at, data.items.length));
  else show("start");
  send();
});
