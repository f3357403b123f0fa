// Grades by attempt, as inline SVG.

const SVG = "http://www.w3.org/2000/svg";
const MARKS = 4; // kinds of marks and colours (style.css)

function shape(name, attributes, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

function mark(kind, x, y) {
  const size = 4.5;
  const paths = [
    `M${x - size} ${y}a${size} ${size} 0 1 0 ${2 * size} 0a${size} ${size} 0 1 0 ${-2 * size} 0z`,
    `M${x - size} ${y - size}h${2 * size}v${2 * size}h${-2 * size}z`,
    `M${x} ${y - size - 1}l${size + 1} ${2 * size}h${-2 * size - 2}z`,
    `M${x} ${y - size - 1}l${size + 1} ${size + 1}l${-size - 1} ${size + 1}l${-size - 1} ${-size - 1}z`,
  ];
  return shape("path", { d: paths[kind % MARKS], class: "mark" });
}

// The points of a line, each [x, y]; one that is null (no grade) breaks it.
function line(points) {
  let path = "";
  let open = false;
  for (const point of points) {
    if (point) path += `${open ? "L" : "M"}${point[0]} ${point[1]}`;
    open = point !== null;
  }
  return shape("path", { d: path, class: "line" });
}

const grades = (values) => (values.length ? values.map((value) => value ?? "none").join(", ") : "none yet");

// A plot `width` wide of `series`, each {name, values}: a value from 0 to 100 (or null) for each attempt so
// far, of `most` at most. `title` says what the values are.
export function plot(series, most, width, title = "Grade") {
  const [left, right, top, bottom, height] = [46, 12, 10, 38, 160];
  const x = (attempt) => (most === 1 ? (left + width - right) / 2 : left + ((attempt - 1) / (most - 1)) * (width - left - right));
  const y = (value) => top + (1 - value / 100) * (height - top - bottom);
  const label = series.map(({ name, values }) => `${name ? `${name}: ` : ""}${grades(values)}`).join("; ");
  const svg = shape("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", `${title} by attempt. ${label}.`);
  for (const value of [0, 25, 50, 75, 100]) {
    svg.append(shape("path", { d: `M${left} ${y(value)}H${width - right}`, class: value ? "grid" : "axis" }));
    if (value % 50 === 0) svg.append(shape("text", { x: left - 8, y: y(value) + 4, class: "end" }, String(value)));
  }
  const every = Math.ceil(most / Math.max(Math.floor((width - left) / 34), 1));
  for (let attempt = 1; attempt <= most; attempt += every) {
    svg.append(shape("text", { x: x(attempt), y: height - bottom + 17, class: "middle" }, String(attempt)));
  }
  svg.append(
    shape("text", { x: (left + width - right) / 2, y: height - 5, class: "middle name" }, "Attempt"),
    shape("text", { transform: `translate(11 ${y(50)}) rotate(-90)`, class: "middle name" }, title),
  );
  // The first one comes last, on top: its mark is the smallest.
  for (const [index, { values }] of [...series.entries()].reverse()) {
    const group = shape("g", { class: `series-${index % MARKS}` });
    const points = values.map((value, place) => (value === null ? null : [x(place + 1), y(value)]));
    group.append(line(points));
    points.forEach((point, place) => {
      if (point) group.append(mark(index, ...point));
      else group.append(shape("text", { x: x(place + 1), y: y(0) - 4, class: "middle" }, "×"));
    });
    svg.append(group);
  }
  return svg;
}

// The names of the series, each with its mark.
export function legend(series) {
  const list = document.createElement("ul");
  list.className = "legend";
  series.forEach(({ name }, index) => {
    const svg = shape("svg", { viewBox: "0 0 26 14", "aria-hidden": "true", class: `series-${index % MARKS}` });
    svg.append(shape("path", { d: "M0 7H26", class: "line" }), mark(index, 13, 7));
    const item = document.createElement("li");
    item.append(svg, name);
    list.append(item);
  });
  return list;
}

// A small curve without axes, of the same scale for every student.
export function spark(values, most) {
  const [width, height, edge] = [100, 44, 5];
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const x = (place) => edge + (most === 1 ? 0.5 : place / (most - 1)) * (width - 2 * edge);
  const y = (value) => height - edge - (value / 100) * (height - 2 * edge);
  svg.append(
    shape("path", { d: `M0 ${y(100)}H${width}`, class: "grid" }),
    shape("path", { d: `M0 ${y(0)}H${width}`, class: "axis" }),
    line(values.map((value, place) => (value === null ? null : [x(place), y(value)]))),
  );
  const last = values.at(-1);
  if (last !== undefined && last !== null) svg.append(shape("circle", { cx: x(values.length - 1), cy: y(last), r: 3.5, class: "mark" }));
  return svg;
}
