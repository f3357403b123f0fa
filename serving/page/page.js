// Plays one artificial student through an assignment. Everything a student or a grader wrote reaches the
// page as text (textContent), never as HTML.
const $ = (id) => document.getElementById(id);
const PAUSE_MS = 900; // between two attempts of "Keep trying", so that one can follow

let assignments = new Map();
let history = []; // the programs so far, as the service wants them: {code, feedback}
let tries = 0; // attempts shown, those without a program included
let playing = false;
let asking = null; // the AbortController of the request under way

function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function say(text, kind = "") {
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

// The lines of both programs in order, each with what became of it: a longest common subsequence.
function changes(before, after) {
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
      : changes(lines(before), lines(code));
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

// A task with its `names` set as code.
const prose = (text) => text.split(/`([^`\n]+)`/).map((part, index) => (index % 2 ? element("code", {}, part) : part));

function show(answer, before) {
  tries += 1;
  const grade = answer.verdict ? answer.verdict.grade : null;
  const points = grade === null ? "no program" : `${rounded(grade)} of 100`;
  const heading = element("h3", {}, `Attempt ${tries}`);
  if (answer.verdict) heading.append(element("small", { textContent: answer.verdict.status }));
  const card = element("li", { className: `attempt ${level(grade)}`, id: `attempt-${tries}` });
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
        { className: "said" },
        element("h4", { textContent: same ? "Handed in unchanged; the grader says" : "The grader says" }),
        element("p", { textContent: answer.verdict.feedback || "Nothing: this student learned without feedback." }),
      ),
    );
  }
  $("list").append(card);
  $("empty").hidden = true;
  const link = element("a", { href: `#${card.id}`, ariaLabel: `Attempt ${tries}: ${points}` });
  link.append(grade === null ? "–" : rounded(grade), bar(grade, "height"));
  $("course").append(element("li", { className: level(grade) }, link));
  card.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

const solved = () => $("list").lastElementChild?.classList.contains("full") ?? false;
const most = () => Math.min(Math.max(Math.trunc($("most").valueAsNumber) || 1, 1), Number($("most").max));
const finished = () => solved() || tries >= most();

function refresh() {
  const waiting = asking !== null;
  $("try").disabled = waiting || playing || finished() || assignments.size === 0;
  $("try").textContent = tries === 0 ? "Try" : "Try again";
  $("watch").disabled = (!playing && (waiting || finished())) || assignments.size === 0;
  $("watch").textContent = playing ? "Pause" : "Keep trying";
  $("over").disabled = tries === 0 && !waiting;
}

// One attempt. Returns false where there is nothing to go on with.
async function attempt() {
  const request = new AbortController();
  asking = request;
  refresh();
  say(`Attempt ${tries + 1}: the student is writing …`);
  try {
    const answer = await next(
      { assignment: $("assignment").value, history, temperature: $("temperature").valueAsNumber },
      request.signal,
    );
    if (request.signal.aborted) return false;
    show(answer, history.length ? history.at(-1).code : null);
    if (answer.code !== null) history.push({ code: answer.code, feedback: answer.verdict.feedback });
    if (solved()) say(`Solved: attempt ${tries} passes every test.`, "solved");
    else if (finished()) say(`Not solved after ${tries} ${tries === 1 ? "attempt" : "attempts"}.`);
    else if (answer.code === null) say(`Attempt ${tries}: no program. The student can try again.`);
    else say(`Attempt ${tries}: ${rounded(answer.verdict.grade)} of 100.`);
    return !finished();
  } catch (error) {
    if (!request.signal.aborted) say(`No answer: ${error.message}`, "error");
    return false;
  } finally {
    if (asking === request) asking = null;
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
  asking?.abort();
  asking = null;
  playing = false;
  history = [];
  tries = 0;
  $("list").replaceChildren();
  $("course").replaceChildren();
  $("empty").hidden = false;
  $("task").replaceChildren(...prose(assignments.get($("assignment").value) ?? ""));
  say("Ready.");
  refresh();
}

function introduce(about) {
  const version = about.version ? `registered version ${about.version}` : "not registered";
  const origin = about.synthetic
    ? `the synthetic students of the synthetic course “${about.course}”: no real person’s work is in it`
    : `logs of the course “${about.course}”; it is none of those students`;
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
    introduce(about);
    assignments = new Map(list.map(({ name, task }) => [name, task]));
    $("assignment").append(...list.map(({ name }) => element("option", { value: name, textContent: name })));
    $("assignment").disabled = false;
    startOver();
  } catch (error) {
    say(`The service does not answer: ${error.message}`, "error");
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
