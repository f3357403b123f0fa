// The form of settings: what it offers, what it shows of the state, and what it changes in it.

import { $, element, prose } from "./parts.js";
import { OWN } from "./state.js";

const NUMBERS = { "attempts-most": "attempts", seed: "seed", samples: "samples", students: "students" };

const option = (value, text) => element("option", { value, textContent: text });

// A student by its name: {course, model}; undefined where the service does not have it.
export function findModel(about, id) {
  for (const course of about.courses) {
    const model = course.models.find((one) => one.id === id);
    if (model) return { course, model };
  }
  return undefined;
}

// The version that a name of the address stands for: `tutee-COURSE` is the champion, and so on.
function pinned(about, name) {
  for (const { course, champion, challenger } of about.courses) {
    if (name === `tutee-${course}` && champion) return champion;
    if (name === `tutee-${course}-challenger` && challenger) return challenger;
  }
  return name;
}

// Names in the state what the address left open: the version, and the assignment.
export function complete(state, about, assignments) {
  const champion = about.courses.map((course) => course.champion ?? course.models[0]?.id).find(Boolean) ?? "";
  state.model = pinned(about, state.model || champion);
  state.other = pinned(about, state.other);
  state.assignment ||= offered(state, about, assignments)[0]?.name ?? "";
}

// The assignments of the course of the chosen student.
function offered({ model }, about, assignments) {
  const course = findModel(about, model)?.course.course;
  return assignments.filter((assignment) => assignment.course === course);
}

function describe(model, { champion, challenger }) {
  const rank = model.id === champion ? "champion" : model.id === challenger ? "challenger" : model.method;
  return `${model.id}, ${rank}`;
}

function fillModels(select, chosen, about, first = []) {
  const groups = about.courses.map((course) =>
    element("optgroup", { label: course.course }, ...course.models.map((model) => option(model.id, describe(model, course)))),
  );
  select.replaceChildren(...first, ...groups);
  choose(select, chosen);
}

// Chooses what the address names, even where the service does not have it: its answer then says so.
function choose(select, value) {
  if (![...select.options].some((one) => one.value === value)) select.append(option(value, `${value} (not here)`));
  select.value = value;
}

function testRow({ call = "", returns = "" } = {}) {
  const remove = element("button", { type: "button", className: "remove", ariaLabel: "Remove this test" }, "×");
  const row = element(
    "li",
    {},
    element("input", { className: "call", value: call, placeholder: "double(2)", ariaLabel: "Call", spellcheck: false }),
    element("span", { ariaHidden: "true" }, "→"),
    element("input", { className: "returns", value: returns, placeholder: "4", ariaLabel: "Expected value", spellcheck: false }),
    remove,
  );
  remove.addEventListener("click", () => {
    row.remove();
    $("add-test").focus();
    $("add-test").dispatchEvent(new Event("change", { bubbles: true }));
  });
  return row;
}

// The tests that are written in the form; empty rows are none.
const ownTests = () =>
  [...$("own-tests").children]
    .map((row) => ({ call: row.querySelector(".call").value.trim(), returns: row.querySelector(".returns").value.trim() }))
    .filter(({ call, returns }) => call || returns);

// Leaves rows alone that say the same: one of them may have the focus.
function fillTests(tests) {
  if ($("own-tests").childElementCount && JSON.stringify(ownTests()) === JSON.stringify(tests)) return;
  $("own-tests").replaceChildren(...(tests.length ? tests : [{}]).map(testRow));
}

// Shows the state in the form.
export function fill(state, about, assignments) {
  fillModels($("model"), state.model, about);
  fillModels($("other"), state.other, about, [option("", "more samples of it")]);
  const list = offered(state, about, assignments);
  $("assignment").replaceChildren(...list.map(({ name }) => option(name, name)), option(OWN, "a task of my own…"));
  choose($("assignment"), state.assignment);
  $("own").hidden = state.assignment !== OWN;
  $("own-task").value = state.task;
  fillTests(state.tests);
  const task = list.find(({ name }) => name === state.assignment)?.task ?? "";
  $("task").replaceChildren(...prose(task));
  $("task").hidden = task === "";
  $("temperature").value = state.temperature;
  showTemperature();
  for (const [id, name] of Object.entries(NUMBERS)) $(id).value = state[name];
  $("students").max = about.limits.samples;
  $("attempts-most").max = about.limits.attempts;
  for (const field of document.querySelectorAll("[data-view]")) field.hidden = field.dataset.view !== state.view;
  if (state.other) $("samples-field").hidden = true;
  describeStudent(state, about);
}

const showTemperature = () => {
  $("temperature-value").textContent = $("temperature").valueAsNumber.toFixed(1);
};

// Says what the student is, on what it was trained, and how well it does.
function describeStudent({ model: id }, about) {
  const found = findModel(about, id);
  const problems = about.courses.filter(({ problem }) => problem).map(({ course, problem }) => `${course}: ${problem}.`);
  const parts = ["A language model, not a person."];
  if (found) {
    const { course, model } = found;
    parts.push(
      course.synthetic
        ? `It was trained on the synthetic students of the synthetic course “${course.course}”: no real person’s work is in it.`
        : `It was trained on logs of the course “${course.course}”; it is not one of those students.`,
      `Method ${model.method.toUpperCase()}, registered version ${model.version}.`,
    );
  }
  $("notice").textContent = [...parts, ...problems].join(" ");
  const figures = Object.entries(found?.model.metrics ?? {});
  $("figures").hidden = figures.length === 0;
  $("metrics").replaceChildren(
    ...figures.flatMap(([name, value]) => [
      element("dt", { textContent: name.replaceAll("_", " ") }),
      element("dd", { textContent: value.toFixed(3) }),
    ]),
  );
}

// Calls `changed` with what the visitor changed of the state.
export function listen(changed) {
  const value = (input) => Math.min(Math.max(Math.trunc(input.valueAsNumber) || 0, Number(input.min)), Number(input.max) || Infinity);
  for (const [id, name] of Object.entries(NUMBERS)) {
    $(id).addEventListener("change", () => changed({ [name]: value($(id)) }));
  }
  $("model").addEventListener("change", () => changed({ model: $("model").value }));
  $("other").addEventListener("change", () => changed({ other: $("other").value }));
  $("assignment").addEventListener("change", () => changed({ assignment: $("assignment").value }));
  $("temperature").addEventListener("input", showTemperature);
  $("temperature").addEventListener("change", () => changed({ temperature: $("temperature").valueAsNumber }));
  $("own").addEventListener("change", () => changed({ task: $("own-task").value, tests: ownTests() }));
  $("add-test").addEventListener("click", () => {
    $("own-tests").append(testRow());
    $("own-tests").lastElementChild.querySelector(".call").focus();
  });
  $("settings").addEventListener("submit", (event) => event.preventDefault());
}
