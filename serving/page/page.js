// Shows one artificial student at work on an assignment. What the student and the grader wrote enters the
// page as text (textContent), never as HTML.
const $ = (id) => document.getElementById(id);
const PAUSE_MS = 900; // between two attempts of "Keep trying", so that a person can follow

let assignments = new Map();
let history = []; // the programs so far, as the service expects them: {code, feedback}
let attempts = 0; // attempts on the page, including those without a program
let playing = false;
let pending = null; // the AbortController of the request in progress

function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function setStatus(text, kind = "") {
  $("status").textContent = text;
  $("status").className = kind;
}

async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: the service answered ${response.status}`);
  return response.json();
}

async function next(body, signal) {
  const response = await fetch("next_submission", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  const answer = await response.json();
  if (response.ok) return answer;
  const problems = (answer.detail || []).map((problem) => `${problem.loc.join(".")}: ${problem.msg}`);
  throw new Error(problems.join("; ") || answer.error?.message || answer.error || `error ${response.status}`);
}

// The lines of both programs in order, each one kept, deleted or inserted, by a longest common subsequence.
function diff(before, after) {
  const width = after.length + 1;
  const common = new Uint32Array((before.length + 1) * width);
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      common[i * width + j] =
        before[i] === after[j]
          ? common[(i + 1) * width + j + 1] + 1
          : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  const rows = [];
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      rows.push({ kind: "span", line: after[j], number: j + 1 });
      i++, j++;
    } else if (i < before.length && (j === after.length || common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      rows.push({ kind: "del", line: before[i++], number: "" });
    } else {
      rows.push({ kind: "ins", line: after[j++], number: j });
    }
  }
  return rows;
}

const lines = (code) => code.replace(/\n$/, "").split("\n");

function program(code, before) {
  const mark = { span: "", ins: "+", del: "−" };
  const rows =
    before === null
      ? lines(code).map((line, index) => ({ kind: "span", line, number: index + 1 }))
      : diff(lines(before), lines(code));
  return element(
    "pre",
    { className: "program", tabIndex: 0, ariaLabel: "The program" },
    ...rows.map(({ kind, line, number }) =>
      element(
        kind,
        {},
        element("b", { textContent: number, ariaHidden: "true" }),
        element("u", { textContent: mark[kind] }),
        element("span", { textContent: `${line}\n` }),
      ),
    ),
  );
}

const level = (grade) => (grade === null ? "none" : grade >= 100 ? "full" : grade > 0 ? "part" : "low");
const rounded = (grade) => String(Math.round(grade * 10) / 10);

function bar(grade, side) {
  const fill = element("i");
  fill.style[side] = `${grade ?? 0}%`;
  return fill;
}

// The nodes of a task, with its `names` as code.
const prose = (text) => text.split(/`([^`\n]+)`/).map((part, index) => (index % 2 ? element("code", {}, part) : part));

function show(answer, before) {
  attempts += 1;
  const grade = answer.verdict ? answer.verdict.grade : null;
  const points = grade === null ? "no program" : `${rounded(grade)} of 100`;
  const heading = element("h3", {}, `Attempt ${attempts}`);
  if (answer.verdict) heading.append(element("small", { textContent: answer.verdict.status }));
  const card = element("li", { className: `attempt ${level(grade)}`, id: `attempt-${attempts}` });
  card.append(
    element(
      "header",
      {},
      heading,
      element(
        "div",
        { className: "grade" },
        ...(grade === null
          ? [element("small", { textContent: "no program" })]
          : [
              element("div", { className: "bar", ariaHidden: "true" }, bar(grade, "width")),
              element("span", {}, rounded(grade), element("small", { textContent: " of 100" })),
            ]),
      ),
    ),
  );
  if (answer.code === null) {
    card.append(element("p", { className: "reason" }, `This turn holds no program: ${answer.reason}.`));
  } else {
    const same = before === answer.code;
    card.append(
      program(answer.code, before),
      element(
        "div",
        { className: "feedback" },
        element("h4", { textContent: same ? "Submitted unchanged; the grader says" : "The grader says" }),
        element("p", { textContent: answer.verdict.feedback || "Nothing: this student learned without feedback." }),
      ),
    );
  }
  $("list").append(card);
  $("empty").hidden = true;
  const link = element("a", { href: `#${card.id}`, ariaLabel: `Attempt ${attempts}: ${points}` });
  link.append(grade === null ? "–" : rounded(grade), bar(grade, "height"));
  $("course").append(element("li", { className: level(grade) }, link));
  card.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

const solved = () => $("list").lastElementChild?.classList.contains("full") ?? false;
const most = () => Math.min(Math.max(Math.trunc($("most").valueAsNumber) || 1, 1), Number($("most").max));
const finished = () => solved() || attempts >= most();

function refresh() {
  const waiting = pending !== null;
  $("try").disabled = waiting || playing || finished() || assignments.size === 0;
  $("try").textContent = attempts === 0 ? "Try" : "Try again";
  $("watch").disabled = (!playing && (waiting || finished())) || assignments.size === 0;
  $("watch").textContent = playing ? "Pause" : "Keep trying";
  $("over").disabled = attempts === 0 && !waiting;
}

// Makes one attempt. Returns false where no further attempt should follow.
async function attempt() {
  const request = new AbortController();
  pending = request;
  refresh();
  setStatus(`Attempt ${attempts + 1}: the student is writing …`);
  try {
    const answer = await next(
      { assignment: $("assignment").value, history, temperature: $("temperature").valueAsNumber },
      request.signal,
    );
    if (request.signal.aborted) return false;
    show(answer, history.length ? history.at(-1).code : null);
    if (answer.code !== null) history.push({ code: answer.code, feedback: answer.verdict.feedback });
    if (solved()) setStatus(`Solved: attempt ${attempts} passes every test.`, "solved");
    else if (finished()) setStatus(`Not solved after ${attempts} ${attempts === 1 ? "attempt" : "attempts"}.`);
    else if (answer.code === null) setStatus(`Attempt ${attempts}: no program. The student can try again.`);
    else setStatus(`Attempt ${attempts}: ${rounded(answer.verdict.grade)} of 100.`);
    return !finished();
  } catch (error) {
    if (!request.signal.aborted) setStatus(`No answer: ${error.message}`, "error");
    return false;
  } finally {
    if (pending === request) pending = null;
    refresh();
  }
}

async function watch() {
  playing = !playing;
  refresh();
  if (!playing) return;
  const start = history;
  while (playing && history === start && (await attempt())) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  if (history === start) playing = false;
  refresh();
}

function startOver() {
  pending?.abort();
  pending = null;
  playing = false;
  history = [];
  attempts = 0;
  $("list").replaceChildren();
  $("course").replaceChildren();
  $("empty").hidden = false;
  $("task").replaceChildren(...prose(assignments.get($("assignment").value) ?? ""));
  setStatus("Ready.");
  refresh();
}

function showAbout(about) {
  const version = about.version ? `registered version ${about.version}` : "not registered";
  const origin = about.synthetic
    ? `the synthetic students of the synthetic course “${about.course}”: no real person’s work is in it`
    : `logs of the course “${about.course}”; it is not one of those students`;
  $("notice").textContent = `A language model, not a person. It was trained on ${origin}. Method ${about.method.toUpperCase()}, ${version}.`;
  $("model").textContent = about.model;
  $("most").max = about.most_attempts;
  const figures = Object.entries(about.metrics);
  $("figures").hidden = figures.length === 0;
  for (const [name, value] of figures) {
    $("metrics").append(element("dt", { textContent: name }), element("dd", { textContent: value.toFixed(3) }));
  }
}

async function open() {
  try {
    const [about, list] = await Promise.all([get("about"), get("assignments")]);
    showAbout(about);
    assignments = new Map(list.map(({ name, task }) => [name, task]));
    $("assignment").append(...list.map(({ name }) => element("option", { value: name, textContent: name })));
    $("assignment").disabled = false;
    startOver();
  } catch (error) {
    setStatus(`The service does not answer: ${error.message}`, "error");
  }
}

$("assignment").addEventListener("change", startOver);
$("over").addEventListener("click", startOver);
$("watch").addEventListener("click", watch);
$("most").addEventListener("input", refresh);
$("temperature").addEventListener("input", () => {
  $("temperature-value").textContent = $("temperature").valueAsNumber.toFixed(1);
});
$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!$("try").disabled) attempt();
});
open();
