// The service: requests, its stream of events, and its errors in plain words.

const KEY = "tutee-api-key"; // kept until the tab is closed

export class ServiceError extends Error {}

// What the page does while a request is held up; main.js puts its own here.
export const ask = {
  key: async (_reason) => {}, // resolves when the visitor has given a key
  wait: (_seconds) => {}, // the request is sent again in so many seconds
};

export const keepKey = (key) => sessionStorage.setItem(KEY, key);

const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });

async function send(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  try {
    return await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServiceError("The service does not answer. Is it still running?");
  }
}

// The error's own sentence, where the service gave one.
async function said(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return "";
  }
}

async function whyNotReady() {
  const response = await send("readyz");
  try {
    const { problem, courses } = await response.json();
    const ofCourses = Object.entries(courses ?? {}).filter(([, course]) => course.problem);
    return [problem, ...ofCourses.map(([name, course]) => `${name}: ${course.problem}`)].filter(Boolean).join("; ");
  } catch {
    return "";
  }
}

async function explained(response) {
  if (response.status === 503) {
    const why = await whyNotReady();
    return `The service is not ready. ${why || "Try again in a moment."}`;
  }
  const sentence = await said(response);
  if (response.status === 504) return `The student took too long. ${sentence}`;
  if (response.status >= 500) return `Something is wrong in the service; its log says what. ${sentence}`;
  return sentence ? `Not possible: ${sentence}` : `The service answered with status ${response.status}.`;
}

// The response to a request: a GET, or with a body a POST. Asks for the API key where one is needed, and
// waits where the service has too much to do. Throws a ServiceError for every other error.
async function answered(path, body, signal) {
  for (;;) {
    const response = await send(path, body, signal);
    if (response.ok) return response;
    if (response.status === 401) {
      await ask.key(await said(response));
    } else if (response.status === 429) {
      const seconds = Math.max(Number(response.headers.get("Retry-After")) || 1, 1);
      ask.wait(seconds);
      await pause(seconds, signal);
    } else {
      throw new ServiceError(await explained(response));
    }
    signal?.throwIfAborted();
  }
}

export const get = async (path) => (await answered(path)).json();

export const nextSubmission = async (body, signal) => (await answered("next_submission", body, signal)).json();

export const steer = async (body) => (await answered("steer", body)).json();

// The events of a text/event-stream response, as they come: {name, data}.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value.replaceAll("\r", "");
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const field = (name) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trim());
      const data = field("data");
      if (data.length) yield { name: field("event")[0] ?? "message", data: JSON.parse(data.join("\n")) };
    }
  }
}

// The events of a rollout up to its end. Throws a ServiceError where it ends early.
export async function* rollout(body, signal) {
  try {
    for await (const { name, data } of events(await answered("rollout", body, signal))) {
      if (name === "error") throw new ServiceError(`The run ended early: ${data.error.message}`);
      if (name === "done") return;
      yield { name, data };
    }
  } catch (error) {
    if (signal?.aborted || error instanceof ServiceError) throw error;
    throw new ServiceError("The connection to the service broke off.");
  }
  throw new ServiceError("The connection to the service ended before the run did.");
}
