// The parts that views are made of. What a student, the grader, a tutor or the service wrote enters the
// page as text (textContent), never as HTML.

import { diff, lines } from "./diff.js";
import { isSolved } from "./trajectory.js";

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

export const rounded = (grade) => String(Math.round(grade * 10) / 10);
export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

// The nodes of a task, with its `names` as code.
export const prose = (text) => text.split(/`([^`\n]+)`/).map((part, index) => (index % 2 ? element("code", {}, part) : part));

// How good a grade is: the class that colours it.
export const level = (attempt) => {
  if (!attempt?.verdict) return "none";
  const { grade } = attempt.verdict;
  return grade >= 100 ? "full" : grade > 0 ? "part" : "low";
};

const passed = (test) => test.outcome === "passed";
const COMPILES = "compiles"; // the status of a program that could be run

// What became of an attempt, in one sentence.
export function result(attempt) {
  const { code, reason, verdict } = attempt;
  if (!verdict) return code === null ? `no program: ${reason}` : `gave up${reason ? `: ${reason}` : ""}`;
  if (isSolved(attempt)) return "solved: every test passed";
  const grade = `grade ${rounded(verdict.grade)} of 100`;
  if (verdict.status !== COMPILES) return `${grade}: the program ${verdict.status}`;
  const failing = verdict.tests.find((test) => !passed(test));
  return failing ? `${grade}; the first failing test is ${failing.name}` : grade;
}

function program(code, before, label) {
  const rows =
    before === null
      ? lines(code).map((line, index) => ({ kind: "same", line, number: index + 1 }))
      : diff(lines(before), lines(code));
  return listing(rows, label);
}

// A program as rows of diff.js.
export function listing(rows, label) {
  const mark = { same: "", ins: "+", del: "−" };
  return element(
    "pre",
    { className: "program", tabIndex: 0, role: "region", ariaLabel: label },
    ...rows.map(({ kind, line, number }) =>
      element(
        kind === "same" ? "span" : kind,
        {},
        element("b", { textContent: number, ariaHidden: "true" }),
        element("u", { textContent: mark[kind] }),
        element("span", { textContent: `${line}\n` }),
      ),
    ),
  );
}

function testResults(tests) {
  const count = tests.filter(passed).length;
  const pips = tests.map((test) => element("i", { className: passed(test) ? "full" : "low" }));
  return element(
    "details",
    { className: "tests" },
    element(
      "summary",
      {},
      `${count} of ${plural(tests.length, "test")} passed`,
      element("span", { className: "pips", ariaHidden: "true" }, ...pips),
    ),
    element(
      "ul",
      {},
      ...tests.map((test) =>
        element(
          "li",
          { className: passed(test) ? "full" : "low" },
          element("b", { ariaHidden: "true" }, passed(test) ? "✓" : "✗"),
          element("code", {}, test.name),
          element("span", {}, passed(test) ? "passed" : test.message || test.outcome),
        ),
      ),
    ),
  );
}

function remark(className, title, text) {
  return element("div", { className }, element("h4", {}, title), element("p", { textContent: text }));
}

// The card of an attempt. `before` is the program before it, or null; `message` the tutor's after it, if any;
// `name` says which of several students wrote it.
export function attemptCard(attempt, number, before, { name = "", message = null } = {}) {
  const { code, verdict } = attempt;
  const heading = element("h3", {}, `Attempt ${number}`);
  if (name) heading.append(element("small", { textContent: name }));
  const header = element("header", {}, heading);
  if (verdict) {
    const fill = element("i");
    fill.style.width = `${verdict.grade}%`;
    header.append(
      element("div", { className: "bar", ariaHidden: "true" }, fill),
      element("p", { className: "grade" }, rounded(verdict.grade), element("small", { textContent: " of 100" })),
    );
  }
  const unchanged = code !== null && code === before;
  const sentence = result(attempt) + (unchanged ? "; handed in unchanged" : "");
  const card = element(
    "article",
    { className: `attempt ${level(attempt)}`, ariaLabel: `Attempt ${number}${name ? `, ${name}` : ""}` },
    header,
    element("p", { className: "result" }, `${sentence[0].toUpperCase()}${sentence.slice(1)}.`),
  );
  if (code !== null) card.append(program(code, before, `The program of attempt ${number}${name ? `, ${name}` : ""}`));
  if (verdict?.tests.length) card.append(testResults(verdict.tests));
  if (verdict && message?.alone !== true) {
    card.append(remark("feedback", "The grader says", verdict.feedback || "Nothing: this student learned without feedback."));
  }
  if (message) {
    card.append(remark("feedback tutor", message.alone ? "You said, in place of the grader" : "You added", message.text));
  }
  return card;
}
