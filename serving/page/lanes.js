// Students side by side, attempt by attempt: what Watch and Compare both show.

import { attemptCard, element, plural, result, rounded } from "./parts.js";
import { legend, plot } from "./plot.js";
import { isSolved } from "./trajectory.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Lanes {
  // `together` is how many attempts are the same for all students, and shown once; `under` (if given) makes
  // what stands under a card, from a lane, the number of its attempt and whether it is shown for all.
  constructor(state, lanes, { together = 0, under = null } = {}) {
    Object.assign(this, { state, lanes, together, under });
    this.figure = element("figure", { className: "panel" });
    this.list = element("ol", { className: "rows", ariaLabel: "Attempts" });
    this.list.classList.add(`lanes-${lanes.length}`);
  }

  get finished() {
    const { state, lanes } = this;
    return state.at >= state.attempts || lanes.every(({ over, attempts }) => over && attempts.length <= state.at);
  }

  // What is shown of a lane's attempts.
  shown(lane) {
    return lane.attempts.slice(0, this.state.at);
  }

  // Shows one more attempt of every student. Returns whether another one may follow.
  async advance(signal) {
    const next = this.state.at + 1;
    await this.reach(next, signal);
    this.state.at = next;
    this.addRow(next, true);
    return !this.finished;
  }

  // Shows the attempts that the state names.
  async replay(signal) {
    await this.reach(this.state.at, signal);
    for (let number = 1; number <= this.state.at; number++) this.addRow(number, false);
  }

  // All students at once; those whose attempts are the same for all are asked for once.
  async reach(count, signal) {
    const { lanes, state, together } = this;
    const [first, ...others] = lanes;
    if (together) {
      await first.reach(Math.min(count, together), state, signal);
      for (const lane of others) lane.attempts.push(...first.attempts.slice(lane.attempts.length, together));
    }
    await Promise.all(lanes.map((lane) => lane.reach(count, state, signal)));
  }

  // The number of the last attempt of any student that is shown.
  get last() {
    return Math.max(0, ...this.lanes.map((lane) => this.shown(lane).length));
  }

  addRow(number, scroll) {
    const shared = number <= this.together;
    const cells = (shared ? this.lanes.slice(0, 1) : this.lanes).map((lane) => {
      const attempt = lane.attempts[number - 1];
      const cell = element("div", { className: "cell" });
      if (!attempt) return cell;
      const before = lane.attempts[number - 2]?.code ?? null;
      // The last lane has every message of the tutor's; the attempts for all end with the first of them.
      const { messages } = shared ? this.lanes.at(-1) : lane;
      const name = shared || this.lanes.length === 1 ? "" : lane.name;
      cell.append(attemptCard(attempt, number, before, { name, message: messages.get(number) }));
      const more = this.under?.(lane, number, shared);
      if (more) cell.append(more);
      return cell;
    });
    if (cells.every((cell) => cell.childElementCount === 0)) return;
    const row = element("li", { className: shared || this.lanes.length === 1 ? "row alone" : "row" }, ...cells);
    this.list.append(row);
    if (scroll) row.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  }

  // The plot, which is drawn anew for every width of the window.
  draw() {
    const series = this.lanes.map((lane) => ({
      name: this.lanes.length > 1 ? lane.name : "",
      values: this.shown(lane).map(({ verdict }) => (verdict ? Number(rounded(verdict.grade)) : null)),
    }));
    this.figure.replaceChildren(plot(series, this.state.attempts, this.figure.clientWidth - 24 || 600));
    if (series.length > 1) this.figure.append(legend(series));
  }

  // How it stands, in one sentence: {text, kind}.
  status() {
    const { state, lanes } = this;
    if (this.last === 0) return { text: "Ready.", kind: "" };
    if (lanes.length === 1) return this.statusOfOne(this.shown(lanes[0]));
    const solved = lanes.filter((lane) => isSolved(this.shown(lane).at(-1)));
    const each = lanes.map((lane) => {
      const attempts = this.shown(lane);
      const last = attempts.at(-1);
      if (!last) return `${lane.name}: no attempt yet`;
      if (isSolved(last)) return `${lane.name}: solved in attempt ${attempts.length}`;
      return `${lane.name}: ${last.verdict ? `${rounded(last.verdict.grade)} of 100` : result(last)}`;
    });
    const begin = this.finished ? "Over" : `Attempt ${state.at}`;
    const text = `${begin}. ${each.join("; ")}.${this.noDifference ? " What you said made no difference so far." : ""}`;
    return { text, kind: solved.length === lanes.length ? "solved" : "" };
  }

  // Whether students who differ by a tutor's messages alone have handed in the same.
  get noDifference() {
    const [first, ...others] = this.lanes.map((lane) => JSON.stringify(this.shown(lane).map(({ code }) => code)));
    return this.together > 0 && this.state.at > this.together && others.every((codes) => codes === first);
  }

  statusOfOne(attempts) {
    const last = attempts.at(-1);
    if (isSolved(last)) return { text: `Solved: attempt ${attempts.length} passes every test.`, kind: "solved" };
    if (last.verdict && this.finished) {
      return { text: `Not solved after ${plural(attempts.length, "attempt")}: ${result(last)}.`, kind: "" };
    }
    return { text: `Attempt ${attempts.length}: ${result(last)}.`, kind: "" };
  }
}
