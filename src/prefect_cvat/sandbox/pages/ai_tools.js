// "AI tools" of the page of a frame: calls functions as CVAT's page does, and stores what the user accepts.
"use strict";

const panel = document.getElementById("ai-tools");
const svg = document.querySelector("#frame svg");
const { job, frame } = panel.dataset;
const labels = JSON.parse(panel.dataset.labels);
const part = (name) => panel.querySelector(`[name=${name}], [data-part=${name}]`);
const drawing = svg.appendChild(document.createElementNS(svg.namespaceURI, "g"));
const unit = Math.max(svg.viewBox.baseVal.width, svg.viewBox.baseVal.height) / 100;
const DRAGGED = 5; // pixels of the screen between a click and a box

let functions = [];
let prompts = noPrompts();
let found = null; // what the last call found
let calls = 0; // answers of earlier calls than the last one are ignored

function noPrompts() {
  return { pos_points: [], neg_points: [], obj_bbox: [] };
}

// --- the server ---

async function send(method, path, body) {
  // the login that a new sandbox has, until the user gives another one
  const login = sessionStorage.getItem("login") ?? btoa("admin:admin");
  const response = await fetch(`/api/${path}`, {
    method,
    credentials: "omit",
    headers: { Authorization: `Basic ${login}`, "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  let answer = null;
  try {
    answer = text && JSON.parse(text);
  } catch {
    answer = `${response.status} ${response.statusText}`;
  }
  if (response.status === 401) part("login").hidden = false;
  if (!response.ok) throw new Error(typeof answer === "string" ? answer : (answer.detail ?? text));
  return answer;
}

async function list() {
  say("Asking for the functions …");
  functions = (await send("GET", "lambda/functions")).filter(({ kind }) => kind === "interactor" || kind === "detector");
  part("login").hidden = true;
  const options = functions.map(({ id, name, kind, version }) => {
    const option = new Option(`${name} (${kind})`, id);
    // as CVAT's page: it speaks to interactors of version 2 only
    option.disabled = kind === "interactor" && version < 2;
    return option;
  });
  part("function").replaceChildren(...options);
  choose();
}

async function call() {
  const chosen = current();
  const number = ++calls;
  found = null;
  draw();
  say(`Calling ${chosen.name} …`);
  const target = { job: Number(job), frame: Number(frame) };
  const started = performance.now();
  const answer =
    chosen.kind === "detector"
      ? await send("POST", `lambda/functions/${chosen.id}`, { type: "annotate_frame", ...target })
      : await send("POST", `lambda/functions/${chosen.id}`, { type: "interact", ...target, ...prompts });
  if (number !== calls) return;
  found = chosen.kind === "detector" ? ofDetector(answer) : ofInteractor(answer);
  draw();
  say(`${found.text} (${Math.round(performance.now() - started)} ms)`);
}

async function accept() {
  part("accept").disabled = true; // a second click must not store everything twice
  try {
    await send("PATCH", `jobs/${job}/annotations?action=create`, { tags: found.tags ?? [], shapes: found.shapes.map(stored) });
  } catch (error) {
    draw();
    throw error;
  }
  location.reload();
}

function stored({ id, ...shape }) {
  const kept = { ...shape, frame: Number(frame) };
  if (current().kind === "interactor") Object.assign(kept, { source: "semi-auto", label_id: Number(part("label").value) });
  if (kept.elements) kept.elements = kept.elements.map(({ id: _, ...element }) => element);
  return kept;
}

// --- what functions answer ---

function ofDetector({ tags, shapes }) {
  const without = tags.map(({ id, ...tag }) => tag);
  return { tags: without, shapes, text: `${shapes.length + tags.length} found` };
}

function ofInteractor(answer) {
  const masks = answer?.mask ? [runLengths(answer.mask)] : (answer?.shapes ?? []).filter(({ type }) => type === "mask");
  const confidence = (shape) => Number(shape.attributes?.find(({ spec_id }) => spec_id === 0)?.value ?? 1);
  const [best] = masks.sort((one, other) => confidence(other) - confidence(one));
  if (!best) return { shapes: [], text: "No shapes" };
  const given = best.attributes?.length ? `, confidence ${confidence(best).toFixed(2)}` : "";
  return { shapes: [{ type: "mask", points: best.points }], text: `A mask${given}` };
}

// rows of 0 and 1 for all pixels of the image, the older form
function runLengths(rows) {
  const lengths = [];
  let last = 0;
  let length = 0;
  for (const cell of rows.flat()) {
    if (Number(Boolean(cell)) !== last) {
      lengths.push(length);
      [last, length] = [1 - last, 0];
    }
    length += 1;
  }
  return { type: "mask", points: [...lengths, length, 0, 0, rows[0].length - 1, rows.length - 1] };
}

// --- drawing ---

function element(name, attributes) {
  const made = document.createElementNS(svg.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function draw(dragged) {
  const shapes = (found?.shapes ?? []).flatMap((shape) => outline(shape, color(shape.label_id ?? Number(part("label").value))));
  const dot = (fill) => ([cx, cy]) => element("circle", { cx, cy, r: unit * 0.7, fill, stroke: "#fff", "stroke-width": unit * 0.15 });
  const boxes = dragged ? [dragged] : prompts.obj_bbox.length ? [prompts.obj_bbox] : [];
  drawing.replaceChildren(
    ...shapes,
    ...boxes.map(([[x1, y1], [x2, y2]]) =>
      element("rect", {
        x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1),
        fill: "none", stroke: "#fff", "stroke-width": unit * 0.3, "stroke-dasharray": unit,
      }),
    ),
    ...prompts.pos_points.map(dot("#12b76a")),
    ...prompts.neg_points.map(dot("#d92d20")),
  );
  part("accept").disabled = !found?.shapes.length && !found?.tags?.length;
  part("discard").disabled = !found && !Object.values(prompts).some(({ length }) => length);
}

function color(id) {
  return labels.find((label) => label.id === id)?.color ?? "#ff00ff";
}

function outline(shape, stroke) {
  const { type, points = [], rotation = 0 } = shape;
  const look = { stroke, fill: stroke, "fill-opacity": 0.25, "stroke-width": unit * 0.35 };
  if (shape.outside) return [];
  switch (type) {
    case "mask":
      return [element("path", { d: maskPath(points), fill: stroke, "fill-opacity": 0.6 })];
    case "rectangle": {
      const [x, y, right, bottom] = points;
      const transform = `rotate(${rotation} ${(x + right) / 2} ${(y + bottom) / 2})`;
      return [element("rect", { ...look, x, y, width: right - x, height: bottom - y, transform })];
    }
    case "ellipse": {
      const [cx, cy, right, top] = points;
      return [element("ellipse", { ...look, cx, cy, rx: right - cx, ry: cy - top, transform: `rotate(${rotation} ${cx} ${cy})` })];
    }
    case "polygon":
    case "cuboid":
      return [element("polygon", { ...look, points })];
    case "polyline":
      return [element("polyline", { ...look, points, fill: "none" })];
    case "skeleton":
      return shape.elements.flatMap((each) => outline(each, stroke));
    default:
      return points.filter((_, i) => i % 2 === 0).map((cx, i) => element("circle", { ...look, cx, cy: points[2 * i + 1], r: unit * 0.6 }));
  }
}

function maskPath(points) {
  const [left, top, right] = points.slice(-4);
  const width = right - left + 1;
  let position = 0;
  let path = "";
  points.slice(0, -4).forEach((run, index) => {
    const stop = position + run;
    while (index % 2 && position < stop) {
      const column = position % width;
      const length = Math.min(stop - position, width - column);
      path += `M${left + column} ${top + Math.floor(position / width)}h${length}v1h${-length}z`;
      position += length;
    }
    position = stop;
  });
  return path;
}

// --- the user ---

function current() {
  return functions.find(({ id }) => id === part("function").value);
}

function choose() {
  const chosen = current();
  const isInteractor = chosen?.kind === "interactor";
  reset();
  part("detect").hidden = chosen?.kind !== "detector";
  part("labels").hidden = !isInteractor;
  svg.style.cursor = isInteractor ? "crosshair" : "";
  svg.style.touchAction = isInteractor ? "none" : "";
  if (!chosen) return say("There are no functions for this page.");
  if (!isInteractor) return say(chosen.description);
  if (!part("label").options.length) return say("This task has no label of type any or mask.");
  say(chosen.help_message || hint(chosen));
}

function takesBox({ startswith_box, startswith_box_optional }) {
  return startswith_box || startswith_box_optional;
}

function hint(chosen) {
  const ways = [];
  if (takesBox(chosen)) ways.push("drag a box around the object");
  if (!chosen.startswith_box || chosen.startswith_box_optional) ways.push("click on it");
  if (chosen.min_neg_points >= 0) ways.push("Shift-click what does not belong to it");
  const text = ways.join(", or ");
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function reset() {
  prompts = noPrompts();
  found = null;
  calls += 1;
  draw();
}

function prompted() {
  const chosen = current();
  draw();
  const needsBox = chosen.startswith_box && !chosen.startswith_box_optional && !prompts.obj_bbox.length;
  if (needsBox) return say("Drag a box around the object first.");
  const missing = chosen.min_pos_points - prompts.pos_points.length;
  const isEnough = missing <= 0 || (prompts.obj_bbox.length && chosen.startswith_box_optional);
  if (!isEnough) return say(`Click on the object ${missing} more time${missing > 1 ? "s" : ""}.`);
  return attempt(call);
}

function place(event) {
  const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const { width, height } = svg.viewBox.baseVal;
  const within = (value, most) => Math.round(Math.min(Math.max(value, 0), most) * 100) / 100;
  return [within(x, width), within(y, height)];
}

function press(event) {
  const chosen = current();
  if (chosen?.kind !== "interactor" || event.button !== 0 || !part("label").options.length) return;
  event.preventDefault();
  svg.setPointerCapture(event.pointerId);
  const first = place(event);
  const isDrag = (moved) =>
    takesBox(chosen) && Math.hypot(moved.clientX - event.clientX, moved.clientY - event.clientY) > DRAGGED;
  const move = (moved) => isDrag(moved) && draw([first, place(moved)]);
  const release = (end) => {
    svg.removeEventListener("pointermove", move);
    if (isDrag(end)) {
      const [[x1, y1], [x2, y2]] = [first, place(end)];
      prompts.obj_bbox = [[Math.min(x1, x2), Math.min(y1, y2)], [Math.max(x1, x2), Math.max(y1, y2)]];
    } else if (end.shiftKey && chosen.min_neg_points >= 0) {
      prompts.neg_points.push(place(end));
    } else {
      prompts.pos_points.push(place(end));
    }
    prompted();
  };
  svg.addEventListener("pointermove", move);
  svg.addEventListener("pointerup", release, { once: true });
}

function say(text) {
  part("said").textContent = text;
}

async function attempt(action) {
  try {
    await action();
  } catch (error) {
    say(error.message);
  }
}

svg.addEventListener("pointerdown", press);
svg.addEventListener("dragstart", (event) => event.preventDefault());
part("function").addEventListener("change", choose);
part("label").addEventListener("change", () => draw());
part("detect").addEventListener("click", () => attempt(call));
part("accept").addEventListener("click", () => attempt(accept));
part("discard").addEventListener("click", choose);
part("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("login", btoa(`${part("user").value}:${part("password").value}`));
  attempt(list);
});
attempt(list);
