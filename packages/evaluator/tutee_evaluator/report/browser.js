// Shows the trajectories of one start after another. What students, methods and the grader wrote enters the
// page as text (textContent), never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const MOST_CELLS = 4e6; // of a table of two programs' lines; beyond, a program counts as wholly rewritten
const ANY = "any";
const SOLVED = "solved";

function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

// The content of browser.py: base64 of deflated JSON.
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

const lines = (program) => program.replace(/\r?\n$/, "").split(/\r\n|\r|\n/);

// The lines of both programs in order, each with its mark: " " same, "-" removed, "+" added.
function changes(before, after) {
  let head = 0;
  while (head < Math.min(before.length, after.length) && before[head] === after[head]) head++;
  let tail = 0;
  const rest = Math.min(before.length, after.length) - head;
  while (tail < rest && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail++;
  const same = (line) => [" ", line];
  return [
    ...after.slice(0, head).map(same),
    ...rewritten(before.slice(head, before.length - tail), after.slice(head, after.length - tail)),
    ...after.slice(after.length - tail).map(same),
  ];
}

// The same by a longest common subsequence.
function rewritten(before, after) {
  const width = after.length + 1;
  if ((before.length + 1) * width > MOST_CELLS) {
    return [...before.map((line) => ["-", line]), ...after.map((line) => ["+", line])];
  }
  const common = new Uint32Array((before.length + 1) * width);
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      const [right, below] = [common[i * width + j + 1], common[(i + 1) * width + j]];
      common[i * width + j] =
        before[i] === after[j] ? common[(i + 1) * width + j + 1] + 1 : Math.max(right, below);
    }
  }
  const rows = [];
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      rows.push([" ", after[j]]);
      i++;
      j++;
    } else if (j === after.length || (i < before.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      rows.push(["-", before[i++]]);
    } else {
      rows.push(["+", after[j++]]);
    }
  }
  return rows;
}

function program(rows, label) {
  const [names, signs] = [{ "+": "added", "-": "removed", " ": "same" }, { "+": "+ ", "-": "− ", " ": "  " }];
  return element(
    "pre",
    { tabIndex: 0, ariaLabel: label },
    ...rows.map(([mark, line]) => element("span", { className: names[mark], textContent: `${signs[mark]}${line}\n` })),
  );
}

// A submission under the name of who made it; `before` is the text of the program before.
function attempt(who, label, { kind, grade, code, feedback }, before) {
  const points = element("span", {
    className: grade === 100 ? "grade full" : "grade",
    textContent: grade === null ? "–" : String(Math.round(grade)),
  });
  const unchanged = code === before ? ", nothing changed" : "";
  const node = element("div", { className: "attempt" });
  node.append(element("div", { className: "outcome" }, element("strong", { textContent: who }), points, kind + unchanged));
  if (code !== null) node.append(program(changes(lines(before), lines(code)), label));
  if (feedback) node.append(element("p", { className: "feedback", textContent: feedback }));
  return node;
}

function offer(id, options) {
  const nodes = options.map(([value, text]) => element("option", { value, textContent: text }));
  $(`choose-${id}`).replaceChildren(...nodes);
}

class Browser {
  constructor(data) {
    this.data = data;
    this.found = []; // the starts that fit the filters, each with the rollout to show
    this.at = 0;
    const ends = (all) => [[ANY, "in any way"], ...all.map((end) => [end, end])];
    const assignments = [...new Set(data.starts.map((start) => start.assignment))];
    offer("method", data.methods.map((name, number) => [number, name]));
    offer("assignment", [[ANY, "all"], ...assignments.map((name) => [`=${name}`, name])]);
    offer("end", ends([...new Set(data.starts.flatMap((start) => start.rollouts.map((one) => one[2])))].sort()));
    offer("real-end", ends([...new Set(data.starts.map((start) => start.ends))].sort()));
    $("choose-method").value = $("shown").dataset.method;
    this.offerSamples();
    this.filter();
  }

  chosen(id) {
    return $(`choose-${id}`).value;
  }

  get method() {
    return Number(this.chosen("method"));
  }

  // Offers the method's samples, and stays at the same one where it is among them.
  offerSamples() {
    const wanted = this.chosen("sample");
    const rollouts = this.data.starts.flatMap((start) => start.rollouts);
    const samples = rollouts.filter(([method]) => method === this.method).map(([, sample]) => String(sample));
    const name = (sample) => (sample === "0" ? "likeliest turns" : `drawn, ${sample}`);
    offer("sample", [...new Set(samples)].sort((a, b) => a - b).map((sample) => [sample, name(sample)]));
    if (samples.includes(wanted)) $("choose-sample").value = wanted;
  }

  // Finds the starts that fit, and stays at the same start where it is among them.
  filter() {
    const current = this.found[this.at]?.start;
    const [sample, assignment] = [Number(this.chosen("sample")), this.chosen("assignment")];
    const [end, realEnd] = [this.chosen("end"), this.chosen("real-end")];
    this.found = this.data.starts
      .filter((start) => assignment === ANY || assignment === `=${start.assignment}`)
      .filter((start) => realEnd === ANY || realEnd === start.ends)
      .map((start) => ({ start, rollout: start.rollouts.find((one) => one[0] === this.method && one[1] === sample) }))
      .filter(({ rollout }) => rollout && (end === ANY || end === rollout[2]));
    this.at = Math.max(0, this.found.findIndex(({ start }) => start === current));
    this.show();
  }

  turn(by) {
    if (!this.found.length) return;
    this.at = (this.at + by + this.found.length) % this.found.length;
    this.show();
  }

  submission(number) {
    const [kind, grade, code, feedback] = this.data.submissions[number];
    const { kinds, texts } = this.data;
    return { kind: kinds[kind], grade, code: code === null ? null : texts[code], feedback: texts[feedback] };
  }

  show() {
    const { length } = this.found;
    $("place").textContent = length ? `${this.at + 1} of ${length}` : "No start fits.";
    $("shown").replaceChildren(...(length ? this.nodes(this.found[this.at]) : []));
  }

  nodes({ start, rollout }) {
    const [method, , end, artificial] = rollout;
    const before = this.data.texts[start.before];
    const who = [this.data.methods[method], $("shown").dataset.student];
    const previous = [before, before];
    const nodes = [
      element("h3", { textContent: `${start.assignment}, from submission ${start.start}` }),
      element("p", { className: "note", textContent: `${who[0]}: ${end}. ${who[1]}: ${start.ends}. The program before:` }),
      program(lines(before).map((line) => [" ", line]), "The program before"),
    ];
    const sides = [artificial, start.real];
    for (let step = 0; step < Math.max(artificial.length, start.real.length); step++) {
      const row = element("div", { className: "pair" }, element("div", { className: "step", textContent: `step ${step + 1}` }));
      sides.forEach((numbers, side) => {
        if (step >= numbers.length) {
          const text = numbers === artificial && end === SOLVED ? "solved before" : "no further submission";
          return row.append(element("div", { className: "attempt empty", textContent: `${who[side]}: ${text}` }));
        }
        const shown = this.submission(numbers[step]);
        row.append(attempt(who[side], `${who[side]}, step ${step + 1}`, shown, previous[side]));
        if (shown.code !== null) previous[side] = shown.code;
      });
      nodes.push(row);
    }
    return nodes;
  }
}

async function start() {
  const browser = new Browser(await unpacked($("trajectories-data").textContent));
  $("choose-method").addEventListener("change", () => browser.offerSamples());
  for (const select of document.querySelectorAll("#controls select")) {
    select.addEventListener("change", () => browser.filter());
  }
  $("previous").addEventListener("click", () => browser.turn(-1));
  $("next").addEventListener("click", () => browser.turn(1));
  $("trajectory-browser").addEventListener("keydown", (event) => {
    // In a list the arrows choose, and in a program they scroll.
    if (event.target.closest("select, pre") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") browser.turn(-1);
    if (event.key === "ArrowRight") browser.turn(1);
  });
  $("controls").hidden = false;
}

start().catch((error) => {
  $("shown").textContent = `The trajectories cannot be shown (${error.message}); a browser of 2023 or later can.`;
});
