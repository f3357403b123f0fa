// A next step in the student's own words: from a wrong program towards a right one, one change after another.

import { ServiceError, steer } from "./api.js";
import { diff, lines } from "./diff.js";
import { element, listing, plural, rounded } from "./parts.js";
import { asked } from "./state.js";

const CANDIDATES = 8;
const STEPS = 3;

// The changes that lead from each of `programs` to the next one, in order, from the top of a program to its end:
// each is the rows of the whole program in which that change alone is marked, and those before it are made.
export function changes(programs) {
  const found = [];
  for (let at = 1; at < programs.length; at++) {
    const rows = diff(lines(programs[at - 1]), lines(programs[at]));
    let hunk = 0;
    const hunks = rows.map((row, index) => {
      if (row.kind === "same") return 0;
      if (index === 0 || rows[index - 1].kind === "same") hunk++;
      return hunk;
    });
    for (let now = 1; now <= hunk; now++) {
      const shown = rows
        .map((row, index) => ({ ...row, hunk: hunks[index] }))
        .filter((row) => row.hunk === 0 || row.hunk === now || (row.kind === "ins") === row.hunk < now)
        .map((row) => ({ kind: row.hunk === now ? row.kind : "same", line: row.line }));
      let number = 0;
      found.push(shown.map((row) => ({ ...row, number: row.kind === "del" ? "" : ++number })));
    }
  }
  return found;
}

// What is known at the end of the steps, in a sentence.
function outcome({ reached, steps }, grade) {
  if (steps.length === 0) return "No better program was found near this one. Asking again draws others.";
  const { sample, tokens, names_kept: kept } = steps.at(-1);
  const size = `${plural(tokens, "token")} changed`;
  const names = kept === 1 ? ", every name kept" : "";
  if (reached) return `With all of it every test passes: ${size}${names}.`;
  return `With all of it the grade is ${rounded(sample.verdict.grade)} of 100, before ${rounded(grade)}: ${size}${names}.`;
}

// The steps of an answer, one shown at a time, with Back and Next.
function stepper(own, answer) {
  const all = changes([own.code, ...answer.steps.map(({ sample }) => sample.code)]);
  const said = element("p", { className: "steer-said", role: "status" });
  const shown = element("div");
  const back = element("button", { type: "button" }, "Back");
  const next = element("button", { type: "button" }, "Next");
  let at = 0;
  const show = () => {
    const isLast = at >= all.length - 1;
    const place = all.length > 1 ? `Change ${at + 1} of ${all.length}. ` : "";
    said.textContent = isLast ? place + outcome(answer, own.verdict.grade) : place;
    shown.replaceChildren(...(all.length ? [listing(all[at], `Change ${at + 1} of ${all.length}`)] : []));
    back.setAttribute("aria-disabled", at === 0);
    next.setAttribute("aria-disabled", isLast);
  };
  const move = (by) => {
    at = Math.min(Math.max(at + by, 0), all.length - 1);
    show();
  };
  back.onclick = () => move(-1);
  next.onclick = () => move(1);
  show();
  const buttons = element("div", { className: "buttons" }, back, next);
  return element("div", { className: "stepper" }, said, ...(all.length > 1 ? [buttons] : []), shown);
}

// The box below a wrong attempt, the last of `history`, in which a next step is asked for.
export function steerBox(attempt, { model, history, seed, settings }) {
  const result = element("div");
  const button = element("button", { type: "button", className: "primary" }, "Find it");
  let tries = 0;
  button.onclick = async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", true);
    result.replaceChildren(element("p", { role: "status" }, "Looking for a step near this program …"));
    const drawn = (seed + STEPS * CANDIDATES * tries++) % 2 ** 32;
    try {
      const body = { model, assignment: asked(settings), history, n: CANDIDATES, steps: STEPS, seed: drawn };
      result.replaceChildren(stepper(attempt, await steer(body)));
      button.textContent = "Find another one";
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      result.replaceChildren(element("p", { className: "error", role: "alert" }, error.message));
    } finally {
      button.setAttribute("aria-disabled", false);
    }
  };
  return element(
    "details",
    { className: "steer-box" },
    element("summary", {}, "A next step in your own words"),
    element(
      "div",
      { className: "tutor-form" },
      element("p", { className: "help" }, `The best of up to ${STEPS * CANDIDATES} programs that this student may write next: a better grade, then the fewest changes.`),
      button,
      result,
    ),
  );
}
