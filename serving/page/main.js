// The page: the state in the address, the controls, and the view that they drive.

import { ServiceError, ask, get, keepKey } from "./api.js";
import { Class } from "./class.js";
import { compare } from "./compare.js";
import { $ } from "./parts.js";
import { complete, fill, findModel, listen } from "./settings.js";
import { OWN, missing, newSeed, read, write } from "./state.js";
import { watch } from "./watch.js";

const PAUSE_MS = 700; // between two attempts while playing, so that a person can follow
const TITLES = {
  watch: "Watch it try, fail, read the feedback, and try again",
  compare: "Compare students side by side on the same assignment",
  class: "A class at a glance: many students on one assignment",
};
const EMPTY = {
  watch: "No attempt yet. Step shows one attempt; Play goes on until a program passes every test or the attempts run out. After an attempt you can be the tutor.",
  compare: "No attempt yet. Step shows one attempt of each.",
  class: "",
};

const narrow = matchMedia("(max-width: 52rem)"); // as in style.css

let about;
let assignments;
let state;
let view;
let keptClass = { address: "", view: null }; // so that the way back from one of its students is short
let work = null; // the AbortController of what is going on
let playing = false;

const say = (text, kind = "") => {
  $("status").textContent = text;
  $("status").className = kind;
};

const disable = (id, disabled) => $(id).setAttribute("aria-disabled", disabled); // keeps the focus, unlike `disabled`
const enabled = (id) => $(id).getAttribute("aria-disabled") !== "true" && !$(id).hidden;

function stop() {
  playing = false;
  work?.abort();
  work = null;
}

// Of the class that is kept, where the student at hand is of it.
function classAddress() {
  const begun = { ...state, view: "class", at: 0 };
  const kept = keptClass.view;
  const isOfIt = kept?.students.some(({ seed }) => seed === state.seed);
  if (isOfIt && write({ ...begun, seed: kept.state.seed }) === keptClass.address) return write(kept.state);
  return write(begun);
}

// Shows in address, controls and plot where things stand.
function refresh() {
  history.replaceState(null, "", write(state));
  $("view-watch").href = write({ ...state, view: "watch" });
  $("view-compare").href = write({ ...state, view: "compare" });
  $("view-class").href = classAddress();
  const busy = work !== null;
  const isClass = state.view === "class";
  const over = view.finished || missing(state) !== "";
  $("step").hidden = $("restart").hidden = isClass;
  disable("step", busy || over);
  disable("play", !playing && (busy || over));
  disable("restart", state.at === 0 && !busy);
  disable("fresh", false);
  const [go, halt] = isClass ? ["Start the class", "Stop"] : ["Play", "Pause"];
  $("play").firstElementChild.textContent = playing ? halt : go;
  $("play").classList.toggle("primary", isClass);
  $("empty").hidden = state.at > 0 || EMPTY[state.view] === "";
  view.draw();
}

// Does something that can be stopped and can fail. Returns its result, or false.
async function run(action, doing) {
  const mine = new AbortController();
  work = mine;
  $("status").ariaLive = state.view === "class" ? "off" : "polite"; // a class moves faster than one can listen
  if (narrow.matches) $("settings-box").open = false;
  say(doing);
  refresh();
  $("again").hidden = true;
  try {
    const result = await action(mine.signal);
    if (work !== mine) return false;
    work = null;
    $("status").ariaLive = "polite";
    moved();
    return result;
  } catch (error) {
    if (work !== mine) return false;
    work = null;
    playing = false;
    if (!(error instanceof ServiceError)) throw error;
    fail(error, () => run(action, doing));
    return false;
  } finally {
    if (work === null) refresh();
  }
}

function fail(error, again) {
  $("status").ariaLive = "polite";
  say(error.message, "error");
  $("again").hidden = false;
  $("again").onclick = () => {
    $("again").hidden = true;
    $("step").hidden ? $("play").focus() : $("step").focus();
    again();
  };
}

const moved = () => {
  const { text, kind } = view.status();
  say(text, kind);
  view.draw();
};

const writing = () => (state.view === "class" ? "The class begins …" : `Attempt ${state.at + 1}: writing …`);
const advance = () => run((signal) => view.advance(signal, moved), writing());

async function play() {
  if (playing) {
    stop();
    const { text, kind } = view.status();
    say(`${state.view === "class" ? "Stopped" : "Paused"}. ${text}`, kind);
    refresh();
    return;
  }
  playing = true;
  const mine = view;
  while (playing && view === mine && (await advance()) && playing) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  if (view === mine) playing = false;
  refresh();
}

function makeView(known) {
  if (state.view === "watch") return watch(state, known, tutorSpoke);
  if (state.view === "compare") return compare(state);
  const address = write({ ...state, at: 0 });
  if (keptClass.address !== address) keptClass = { address, view: new Class(state) };
  keptClass.view.state = state;
  return keptClass.view;
}

// Shows the state's view, up to the attempts that it names. `known` are lanes whose attempts still hold.
async function show(known = []) {
  stop();
  view = makeView(known);
  $("title").textContent = TITLES[state.view];
  $("empty").textContent = EMPTY[state.view];
  for (const name of Object.keys(TITLES)) {
    if (name === state.view) $(`view-${name}`).setAttribute("aria-current", "page");
    else $(`view-${name}`).removeAttribute("aria-current");
  }
  $("view").replaceChildren(view.figure, view.list);
  const lacking = missing(state);
  say(lacking || view.status().text);
  if (lacking) $("settings-box").open = true;
  if (state.at > 0 && !lacking) {
    playing = state.view === "class" && !view.finished;
    await run((signal) => view.replay(signal, moved), "Shows it again from its seed …");
    playing = false;
  }
  refresh();
}

async function tutorSpoke(at, goOn) {
  const known = view.lanes;
  state.at = at;
  const shown = show(known);
  $("step").focus();
  await shown;
  if (goOn) await advance();
}

function begin(changes) {
  Object.assign(state, { at: 0 }, changes);
  fill(state, about, assignments);
  show();
}

function settingChanged(changes) {
  const same = findModel(about, changes.model)?.course === findModel(about, state.model)?.course;
  if (changes.model && !same && state.assignment !== OWN) state.assignment = "";
  if (changes.attempts && state.view !== "class") {
    state.attempts = changes.attempts;
    state.at = Math.min(state.at, state.attempts);
    show(view.lanes);
    return;
  }
  Object.assign(state, changes, { messages: new Map() });
  complete(state, about, assignments);
  begin({});
}

function openAddress() {
  state = read(location.hash, about.limits);
  complete(state, about, assignments);
  fill(state, about, assignments);
  show();
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    say("The link is copied. It shows the same wherever this version is served.");
  } catch {
    say("The address of this page is the link: copy it from the browser’s address bar.");
  }
}

const ACTIONS = {
  step: advance,
  play,
  restart: () => begin({}),
  fresh: () => begin({ seed: newSeed(), messages: new Map() }),
  link: copyLink,
};
const KEYS = { s: "step", p: "play", r: "restart", n: "fresh", l: "link", 1: "view-watch", 2: "view-compare", 3: "view-class" };

function press({ key, target, ctrlKey, metaKey, altKey }) {
  const typing = target.closest("textarea, select, input:not([type=checkbox], [type=radio]), dialog");
  if (typing || ctrlKey || metaKey || altKey || !$("shortcuts").checked) return false;
  const boxes = [...document.querySelectorAll(".tutor-box")];
  if (key.toLowerCase() === "t" && boxes.length) {
    if (boxes.at(-1).open) boxes.at(-1).querySelector("textarea").focus();
    boxes.at(-1).open = true;
    return true;
  }
  const id = KEYS[key.toLowerCase()];
  if (id) $(id).click();
  return id !== undefined;
}

let keyAsked = null; // one dialog for all requests that wait for the key

function askForKey(reason) {
  keyAsked ??= new Promise((resolve, reject) => {
    $("key-reason").textContent = reason;
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      keepKey($("key").value.trim());
      resolve();
      $("key-dialog").close();
    };
    $("key-cancel").onclick = () => $("key-dialog").close();
    $("key-dialog").onclose = () => {
      $("key").value = "";
      keyAsked = null;
      reject(new ServiceError("This service answers only with an API key.")); // of no effect once resolved
    };
    $("key-dialog").showModal();
  });
  return keyAsked;
}

async function open() {
  try {
    const [first, list] = await Promise.all([get("about"), get("assignments")]);
    about = first;
    assignments = list.assignments;
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    fail(error, open);
    return;
  }
  for (const [id, action] of Object.entries(ACTIONS)) {
    $(id).addEventListener("click", () => {
      if (enabled(id)) action();
    });
  }
  listen(settingChanged);
  addEventListener("hashchange", () => {
    openAddress();
    scrollTo(0, 0);
    if (document.activeElement === document.body) $("attempts").focus({ preventScroll: true }); // what had it is gone
  });
  addEventListener("keydown", (event) => {
    if (press(event)) event.preventDefault();
  });
  new ResizeObserver(() => view.draw()).observe($("view"));
  openAddress();
}

ask.key = askForKey;
ask.wait = (seconds) => say(`The service has too much to do: it is asked again in ${seconds} s.`, "error");
open();
