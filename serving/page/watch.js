// Watch: one student at work; and once a tutor has spoken, the same student with the tutor and without.

import { Lanes } from "./lanes.js";
import { element } from "./parts.js";
import { steerBox } from "./steer.js";
import { Trajectory, isOver } from "./trajectory.js";

const MOST_CHARACTERS = 2000; // of a message: it has to fit into the address

// `known` are lanes of the view before this one, of which the attempts are kept that are still the same.
// `changed(at)` is called when the tutor has said something else, with the attempts to show.
export function watch(state, known, changed) {
  const { model, seed, messages } = state;
  const alone = new Trajectory({ name: "Without the tutor", model, seed, attempts: known.at(0)?.attempts });
  const first = Math.min(...messages.keys());
  const lanes = [alone];
  if (messages.size) {
    // The attempts up to the newest message that both views know are the same.
    const attempts = (known.at(-1)?.attempts ?? []).slice(0, state.at);
    lanes.push(new Trajectory({ name: "With the tutor", model, seed, messages, attempts }));
  }

  function say(number, text, instead) {
    for (const after of messages.keys()) if (after > number) messages.delete(after);
    messages.set(number, { text, alone: instead });
    changed(number, true);
  }

  function unsay() {
    messages.clear();
    changed(state.at, false);
  }

  // The form in which the tutor speaks, below an attempt after which the student goes on.
  function under(lane, number, shared) {
    const tutored = lane === lanes.at(-1) || shared;
    const attempt = lane.attempts[number - 1];
    if (!tutored || isOver(attempt) || number >= state.attempts) return null;
    return element("div", {}, tutorForm(number, messages.get(number), say, unsay), steering(lane, number));
  }

  function steering(lane, number) {
    const history = lane.history().slice(0, number);
    return steerBox(lane.attempts[number - 1], { model, history, seed, settings: state });
  }

  return new Lanes(state, lanes, { together: messages.size ? first : 0, under });
}

function tutorForm(number, message, say, unsay) {
  const id = `tutor-${number}`;
  const text = element("textarea", { id, rows: 3, required: true, maxLength: MOST_CHARACTERS, value: message?.text ?? "" });
  const choice = (value, label, checked) =>
    element("label", {}, element("input", { type: "radio", name: "place", value, checked }), ` ${label}`);
  const form = element(
    "form",
    { className: "tutor-form" },
    element("label", { htmlFor: id }, `What do you say after attempt ${number}?`),
    text,
    element(
      "fieldset",
      {},
      element("legend", { className: "hidden" }, "Where the student reads it"),
      choice("tutor", "after the grader’s feedback", !message?.alone),
      choice("instead", "in place of the grader’s feedback", message?.alone === true),
    ),
    element("button", { type: "submit", className: "primary" }, "Say it"),
  );
  if (message) form.append(element("button", { type: "button", onclick: unsay }, "Take back all that you said"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (text.value.trim()) say(number, text.value.trim(), new FormData(form).get("place") === "instead");
    else text.focus();
  });
  const details = element("details", { className: "tutor-box" }, element("summary", {}, message ? "Say something else" : "Be the tutor"), form);
  details.addEventListener("toggle", () => {
    if (details.open) text.focus();
  });
  return details;
}
