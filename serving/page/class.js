// A class at a glance: many students on one assignment at once, a small curve each.

import { rollout } from "./api.js";
import { element, level, plural, result, rounded } from "./parts.js";
import { plot, spark } from "./plot.js";
import { asked, write } from "./state.js";
import { isSolved } from "./trajectory.js";

export class Class {
  constructor(state) {
    this.state = state;
    this.students = Array.from({ length: state.students }, (_, index) => ({
      seed: state.seed + index,
      attempts: [],
      ended: false,
      tile: element("a", { className: "tile" }),
    }));
    this.figure = element("figure", { className: "panel" });
    this.list = element("ol", { className: "class", ariaLabel: "Students" });
    this.list.append(...this.students.map(({ tile }) => element("li", {}, tile)));
    this.students.forEach((_, index) => this.drawTile(index));
  }

  get finished() {
    return this.students.every(({ ended }) => ended);
  }

  // Has all students work until they are done. `moved` is called after every attempt.
  async advance(signal, moved) {
    const { state, students } = this;
    for (const student of students) Object.assign(student, { attempts: [], ended: false });
    state.at = 1; // begun: opened by this address, the class works again
    students.forEach((_, index) => this.drawTile(index));
    moved();
    const { model, temperature, seed, attempts } = state;
    const body = { model, assignment: asked(state), n: students.length, temperature, seed, attempts };
    for await (const { name, data } of rollout(body, signal)) {
      const student = students[data.sample];
      if (name === "step") student.attempts.push(data);
      if (name === "end") student.ended = true;
      if (student) this.drawTile(data.sample);
      moved();
    }
    return false;
  }

  async replay(signal, moved) {
    if (this.state.at && !this.finished) await this.advance(signal, moved);
  }

  drawTile(index) {
    const { state } = this;
    const { seed, attempts, ended, tile } = this.students[index];
    const last = attempts.at(-1);
    const grade = last?.verdict ? rounded(last.verdict.grade) : last ? "–" : "";
    const doing = isSolved(last) ? `solved in ${attempts.length}` : ended ? (last?.verdict ? "unsolved" : "stopped") : last ? "working" : "";
    // In Watch it works with the same settings, up to where it is now.
    tile.href = write({ ...state, view: "watch", seed, at: attempts.length, messages: new Map() });
    tile.className = `tile ${level(last)}${ended ? "" : " working"}`;
    tile.ariaLabel = `Student ${index + 1}, ${last ? `${plural(attempts.length, "attempt")}, ${result(last)}` : "no attempt yet"}. Open in Watch.`;
    tile.replaceChildren(
      element("span", { className: "who" }, element("b", {}, String(index + 1)), element("em", {}, grade)),
      spark(attempts.map(({ verdict }) => verdict?.grade ?? null), state.attempts),
      element("small", {}, doing || "·"),
    );
  }

  // How many of the class had solved it by each attempt that all who could make it have made.
  draw() {
    const { state, students } = this;
    const made = Math.max(0, ...students.map(({ attempts }) => attempts.length));
    const share = (number) => {
      const solved = students.filter(({ attempts }) => attempts.slice(0, number).some(isSolved)).length;
      return Math.round((1000 * solved) / students.length) / 10;
    };
    const values = Array.from({ length: made }, (_, index) => share(index + 1));
    this.figure.replaceChildren(plot([{ name: "", values }], state.attempts, this.figure.clientWidth - 24 || 600, "% solved"));
  }

  status() {
    const { state, students } = this;
    if (state.at === 0) return { text: `${plural(students.length, "student")}, ready to begin.`, kind: "" };
    const solved = students.filter(({ attempts }) => isSolved(attempts.at(-1))).length;
    const made = students.reduce((sum, { attempts }) => sum + attempts.length, 0);
    const working = students.filter(({ ended }) => !ended).length;
    const text = `${solved} of ${students.length} solved, ${plural(made, "attempt")}${working ? `, ${working} still working` : ""}.`;
    return { text, kind: solved === students.length ? "solved" : "" };
  }
}
