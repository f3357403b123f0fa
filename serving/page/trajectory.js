// One artificial student at work: its attempts so far, each asked for when it is needed.

import { nextSubmission } from "./api.js";
import { asked } from "./state.js";

const NO_MESSAGES = new Map();

export const isSolved = (attempt) => (attempt?.verdict?.grade ?? 0) >= 100;
// Without a verdict the student gave up, or its turn held no program: it does not go on.
export const isOver = (attempt) => attempt !== undefined && (attempt.verdict === null || isSolved(attempt));

export class Trajectory {
  // `messages` are the tutor's, as the state has them. `attempts` are those already known, oldest first.
  constructor({ name, model, seed, messages = NO_MESSAGES, attempts = [] }) {
    Object.assign(this, { name, model, seed, messages, attempts: [...attempts] });
  }

  get over() {
    return isOver(this.attempts.at(-1));
  }

  history() {
    return this.attempts.map(({ code }, index) => {
      const message = this.messages.get(index + 1);
      if (!message) return { code };
      return message.alone ? { code, feedback: message.text } : { code, tutor: message.text };
    });
  }

  // Sees to it that `count` attempts are known, or all that there will be.
  async reach(count, settings, signal) {
    while (this.attempts.length < count && !this.over) {
      const answer = await nextSubmission(
        {
          model: this.model,
          assignment: asked(settings),
          history: this.history(),
          temperature: settings.temperature,
          seed: this.seed,
        },
        signal,
      );
      this.attempts.push(answer.samples[0]);
    }
  }
}
