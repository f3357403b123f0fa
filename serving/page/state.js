// What defines the trajectories on the page, as it stands in the address (the part behind #), so that
// a reload, or somebody else, sees the same. Programs are not in it: they follow from the seed.

export const VIEWS = ["watch", "compare", "class"];
export const OWN = "own"; // the assignment is a task of the visitor's own
const MAX_SEED = 2 ** 32;

export const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;

const number = (text, low, high, otherwise) => {
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(value) ? Math.min(Math.max(value, low), high) : otherwise;
};
const whole = (...of) => Math.trunc(number(...of));

// The state that a fragment names; what it leaves out has its default, and what is out of bounds the nearest
// value within. `at` counts the attempts that are shown. `messages` has what the tutor says, by the number of
// the attempt after which: {text, alone}, `alone` in place of the grader's feedback. `limits` is /about's.
export function read(fragment, limits) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  const attempts = whole(given.get("attempts"), 1, limits.attempts, 8);
  const messages = new Map();
  for (const [name, text] of given) {
    const [, kind, after] = name.match(/^(tutor|instead)\.([1-9]\d?)$/) ?? [];
    if (kind && text.trim()) messages.set(Number(after), { text, alone: kind === "instead" });
  }
  const calls = given.getAll("call");
  const returns = given.getAll("returns");
  return {
    view: VIEWS.includes(given.get("view")) ? given.get("view") : VIEWS[0],
    model: given.get("model") ?? "",
    other: given.get("other") ?? "", // the second version to compare with; none: samples of one version
    assignment: given.get("assignment") ?? "",
    task: given.get("task") ?? "",
    tests: calls.map((call, index) => ({ call, returns: returns[index] ?? "" })),
    temperature: number(given.get("temperature"), 0, 2, 1),
    seed: whole(given.get("seed"), 0, MAX_SEED - limits.samples, newSeed()),
    attempts,
    at: whole(given.get("at"), 0, attempts, 0),
    samples: whole(given.get("samples"), 2, 4, 3),
    students: whole(given.get("students"), 1, limits.samples, Math.min(30, limits.samples)),
    messages,
  };
}

// The fragment from which `read` makes this state again.
export function write(state) {
  const fragment = new URLSearchParams();
  const { view } = state;
  for (const name of ["view", "model", "assignment", "temperature", "seed", "attempts"]) fragment.set(name, state[name]);
  if (view === "compare" && state.other) fragment.set("other", state.other);
  if (view === "compare" && !state.other) fragment.set("samples", state.samples);
  if (view === "class") fragment.set("students", state.students);
  if (state.at) fragment.set("at", state.at);
  if (state.assignment === OWN) {
    fragment.set("task", state.task);
    for (const { call, returns } of state.tests) {
      fragment.append("call", call);
      fragment.append("returns", returns);
    }
  }
  if (view === "watch") {
    for (const [after, { text, alone }] of state.messages) fragment.set(`${alone ? "instead" : "tutor"}.${after}`, text);
  }
  return `#${fragment}`;
}

// The assignment as the service takes it.
export const asked = ({ assignment, task, tests }) =>
  assignment === OWN ? { task, tests: { form: "calls", tests } } : assignment;

// What is missing before a student can begin; "" where nothing is.
export function missing({ model, assignment, task, tests }) {
  if (!model) return "This service has no student to show.";
  if (!assignment) return "This service has no assignment of that course: write a task of your own.";
  if (assignment !== OWN) return "";
  if (!task.trim()) return "Write the task first.";
  if (tests.length === 0 || tests.some(({ call, returns }) => !call.trim() || !returns.trim())) {
    return "Give at least one test: a call of the function, and the value that it should return.";
  }
  return "";
}
