// The page to review frames: filters, sorting, shapes drawn on the images, and a viewer with zoom.
"use strict";

(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const [LABEL, KIND, STYLE, SCORE, BOX, PATH, NOTE] = [0, 1, 2, 3, 4, 5, 6]; // the parts of a shape
  const MAX_PILLS = 300; // captions on an image
  const MAX_PILLS_ON_CARD = 8;
  const MAX_LISTED = 300; // shapes listed beside an image
  const MAX_FILLED = 2000; // more shapes have outlines only
  const MAX_SORTED = 5000; // of more shapes in view, the first ones have captions, and not the most doubtful ones
  const SLOW_MS = 60; // while the image moves, fewer shapes are drawn if all of them take longer

  const byId = (id) => document.getElementById(id);
  const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  const frames = content.frames;
  const cards = [...document.querySelectorAll("#frames > .frame")];
  const grid = byId("frames");
  frames.forEach((frame, index) => {
    frame.index = index;
    frame.card = cards[index];
    frame.lowest = frame.shapes.reduce((low, shape) => Math.min(low, shape[SCORE] ?? 1), 1);
  });

  // --- what has been looked at, kept in the browser ---

  const looked = content.runs.map(({ key }) => {
    try {
      return new Set(JSON.parse(localStorage.getItem(key) ?? "[]"));
    } catch {
      return new Set(); // the browser keeps nothing for this page
    }
  });
  const isLooked = (frame) => looked[frame.run].has(frame.number);

  function setLooked(frame, value) {
    looked[frame.run][value ? "add" : "delete"](frame.number);
    try {
      localStorage.setItem(content.runs[frame.run].key, JSON.stringify([...looked[frame.run]]));
    } catch {
      // as above
    }
    showLooked(frame);
    apply();
  }

  function showLooked(frame) {
    frame.card.classList.toggle("looked", isLooked(frame));
    frame.card.querySelector("input").checked = isLooked(frame);
  }

  // --- filters ---

  const filter = { run: new Set(), doubt: new Set(), kind: new Set(), label: new Set(), from: 0, to: 1, hideLooked: false };
  const names = {
    run: content.runs.map((run) => run.heading),
    doubt: content.doubts,
    kind: content.kinds.map((kind) => kind.name),
    label: content.labels.map((label) => label.name),
  };
  const SORTS = {
    review: ["what to review first", (frame) => frame.index],
    number: ["frame number", (frame) => frame.run * 1e9 + frame.number],
    score: ["lowest score", (frame) => frame.lowest],
    shapes: ["number of shapes", (frame) => -frame.count],
  };
  let visible = frames; // the frames that match, in their order

  const has = (set, value) => set.size === 0 || set.has(value);
  const hasScore = (score) =>
    score === null ? filter.from === 0 && filter.to === 1 : score >= filter.from && score <= filter.to;
  const matches = (shape) => has(filter.kind, shape[KIND]) && has(filter.label, shape[LABEL]) && hasScore(shape[SCORE]);
  const filtersShapes = () => filter.kind.size + filter.label.size > 0 || filter.from > 0 || filter.to < 1;

  /** Applies the filters, and counts for each choice what it would show. */
  function apply() {
    const found = { run: [], doubt: [], kind: [], label: [] };
    const add = (group, value, number = 1) => (found[group][value] = (found[group][value] ?? 0) + number);
    const isByShape = filtersShapes();
    let shapes = 0;
    visible = [];
    for (const frame of frames) {
      if (filter.hideLooked && isLooked(frame)) continue;
      const inRun = has(filter.run, frame.run);
      const inDoubt = filter.doubt.size === 0 || frame.doubts.some((doubt) => filter.doubt.has(doubt));
      let matching = 0;
      for (const shape of frame.shapes) {
        const [ofLabel, ofKind] = [has(filter.label, shape[LABEL]), has(filter.kind, shape[KIND])];
        if (!hasScore(shape[SCORE])) continue;
        if (ofLabel && ofKind) matching += 1;
        if (!inRun || !inDoubt) continue;
        if (ofKind) add("label", shape[LABEL]);
        if (ofLabel) add("kind", shape[KIND]);
      }
      const tagged = filter.kind.size === 0 && frame.tags.some((tag) => filter.label.has(tag));
      const shown = !isByShape || matching > 0 || tagged;
      if (inRun && inDoubt && filter.kind.size === 0) frame.tags.forEach((tag) => add("label", tag));
      if (shown && inDoubt) add("run", frame.run);
      if (shown && inRun) frame.doubts.forEach((doubt) => add("doubt", doubt));
      if (!shown || !inRun || !inDoubt) continue;
      visible.push(frame);
      shapes += isByShape ? matching : frame.count;
    }
    const order = SORTS[byId("sort").value][1];
    visible.sort((one, other) => order(one) - order(other) || one.index - other.index);
    showCounts(found, shapes);
    showCards();
  }

  function showCounts(found, shapes) {
    const all = frames.reduce((sum, frame) => sum + frame.count, 0);
    const isAll = visible.length === frames.length && shapes === all;
    byId("count").textContent = isAll
      ? `${count(frames.length, "frame")}, ${count(all, "shape")}`
      : `${visible.length.toLocaleString("en")} of ${count(frames.length, "frame")}, ${shapes.toLocaleString("en")} of ${count(all, "shape")}`;
    for (const chip of document.querySelectorAll(".chip")) {
      const number = found[chip.dataset.group][chip.dataset.value] ?? 0;
      chip.querySelector("b").textContent = number.toLocaleString("en");
      chip.classList.toggle("empty", number === 0);
    }
    const done = frames.filter(isLooked).length;
    byId("looked-count").textContent = `${done.toLocaleString("en")} of ${frames.length.toLocaleString("en")} looked at`;
    byId("looked-progress").max = Math.max(frames.length, 1);
    byId("looked-progress").value = done;
    byId("none").hidden = visible.length > 0;
  }

  function showCards() {
    const shown = new Set(visible);
    for (const frame of frames) frame.card.hidden = !shown.has(frame);
    const current = [...grid.children].filter((card) => !card.hidden);
    if (visible.some((frame, place) => current[place] !== frame.card)) {
      const focused = document.activeElement;
      grid.append(...visible.map((frame) => frame.card));
      if (focused !== document.activeElement) focused.focus({ preventScroll: true });
    }
    paintCards();
  }

  function makeChips(group, colors, used) {
    const chips = names[group].map((name, value) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.className = "chip";
      chip.dataset.group = group;
      chip.dataset.value = value;
      chip.setAttribute("aria-pressed", "false");
      chip.append(dot(colors?.[value]), name, document.createElement("b"));
      chip.addEventListener("click", () => {
        const set = filter[group];
        set.has(value) ? set.delete(value) : set.add(value);
        chip.setAttribute("aria-pressed", set.has(value));
        apply();
      });
      chip.hidden = !used.has(value);
      return chip;
    });
    const fieldset = byId(`filter-${group}`);
    fieldset.querySelector(".chips").append(...chips);
    fieldset.hidden = used.size < (group === "label" || group === "doubt" ? 1 : 2);
  }

  function dot(color) {
    const dot = document.createElement("i");
    dot.className = "dot";
    if (color) dot.style.setProperty("--c", color);
    return dot;
  }

  function readControls() {
    for (const [id, end] of [["score-from", "from"], ["score-to", "to"]]) {
      filter[end] = Number(byId(id).value);
      byId(id).nextElementSibling.textContent = filter[end].toFixed(2);
    }
    filter.hideLooked = byId("hide-looked").checked;
    apply();
  }

  function reset() {
    for (const group of Object.keys(names)) filter[group].clear();
    for (const chip of document.querySelectorAll(".chip")) chip.setAttribute("aria-pressed", "false");
    byId("score-from").value = 0;
    byId("score-to").value = 1;
    byId("hide-looked").checked = false;
    byId("sort").value = "review";
    readControls();
  }

  function showFilters(shown) {
    byId("filters").hidden = !shown;
    byId("toggle-filters").setAttribute("aria-expanded", shown);
  }

  // --- drawing ---

  const colorOf = (shape) => content.kinds[shape[KIND]].color || content.labels[shape[LABEL]].color;
  /** Where a shape is among others: mistakes first, then low scores. */
  const rankOf = (shape) => (content.kinds[shape[KIND]].mistake ? 0 : 1 + (shape[SCORE] ?? 1));
  const paths = new WeakMap();

  function pathOf(shape) {
    if (!paths.has(shape)) paths.set(shape, new Path2D(shape[PATH]));
    return paths.get(shape);
  }

  function captionOf(shape) {
    const kind = content.kinds[shape[KIND]];
    if (kind.name === "truth") return "";
    const score = shape[SCORE] === null || kind.name === "missed" || kind.name === "manual" ? "" : shape[SCORE].toFixed(2);
    const text = [content.labels[shape[LABEL]].name, shape[NOTE], score].filter(Boolean).join(" ");
    return kind.named ? `${kind.name}: ${text}` : text;
  }

  /**
   * Draws the shapes of a frame.
   * view: the image's scale and the position (x, y) of its corner, in pixels of the screen.
   * options: pills: how many captions at most; selected: a shape; stride: draw every n-th shape only.
   * Returns how many milliseconds it took.
   */
  function paint(canvas, frame, view, { pills, selected = null, stride = 1, lineWidth = 2 }) {
    const started = performance.now();
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const g = canvas.getContext("2d");
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.clearRect(0, 0, canvas.width, canvas.height);
    const left = -view.x / view.scale;
    const top = -view.y / view.scale;
    const right = left + width / view.scale;
    const bottom = top + height / view.scale;
    const inView = frame.shapes.filter(
      ([, , , , [x1, y1, x2, y2]], place) =>
        place % stride === 0 && x2 >= left && x1 <= right && y2 >= top && y1 <= bottom,
    );
    const isFiltered = filtersShapes();
    const matching = isFiltered ? inView.filter(matches) : inView;
    g.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
    g.lineCap = g.lineJoin = "round";
    const unit = 1 / view.scale;
    if (isFiltered) {
      g.globalAlpha = 0.25;
      for (const shape of inView) if (!matches(shape)) outline(g, shape, unit * lineWidth * 0.7, false);
      g.globalAlpha = 1;
    }
    const isCrowded = matching.length > MAX_FILLED;
    for (const shape of matching) {
      if (shape !== selected) outline(g, shape, unit * lineWidth, !isCrowded);
    }
    if (selected) {
      g.globalAlpha = 1;
      outline(g, selected, unit * lineWidth * 2, true);
    }
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (pills > 0 && stride === 1) drawPills(g, matching, selected, view, width, height, pills);
    return performance.now() - started;
  }

  function outline(g, shape, lineWidth, isFull) {
    const [x1, y1, x2, y2] = shape[BOX];
    const color = colorOf(shape);
    const isDots = shape[STYLE] === "d";
    const path = shape[PATH] && pathOf(shape);
    g.setLineDash(content.kinds[shape[KIND]].dashed ? [lineWidth * 3, lineWidth * 2.5] : []);
    const stroke = (style, width) => {
      g.strokeStyle = style;
      g.lineWidth = width;
      if (path) g.stroke(path);
      else g.strokeRect(x1, y1, x2 - x1, y2 - y1);
    };
    const width = isDots ? lineWidth * 3.5 : lineWidth;
    if (isDots && isFull && (x2 > x1 || y2 > y1)) {
      g.globalAlpha = 0.5; // a thin box shows which points belong together
      g.strokeStyle = color;
      g.lineWidth = lineWidth / 2;
      g.strokeRect(x1, y1, x2 - x1, y2 - y1);
      g.globalAlpha = 1;
    }
    if (isFull) {
      if (shape[STYLE] === "a") {
        const alpha = g.globalAlpha;
        g.globalAlpha = alpha * (path ? 0.22 : 0.08);
        g.fillStyle = color;
        if (path) g.fill(path, "evenodd");
        else g.fillRect(x1, y1, x2 - x1, y2 - y1);
        g.globalAlpha = alpha;
      }
      stroke("rgb(0 0 0 / .45)", width + lineWidth * 0.9); // visible on bright images, too
    }
    stroke(color, width);
  }

  /** Draws captions next to their boxes. One that would cover another one is left out. */
  function drawPills(g, shapes, selected, view, width, height, most) {
    const isCard = most <= MAX_PILLS_ON_CARD; // there is room for labels only
    const size = isCard ? 10 : 12;
    const tall = size + 6;
    const placed = [];
    g.font = `600 ${size}px system-ui, sans-serif`;
    g.textBaseline = "middle";
    g.setLineDash([]);
    const rank = (shape) => (shape === selected ? -1 : rankOf(shape));
    const isCrowded = shapes.length > MAX_SORTED;
    const first = (isCrowded ? shapes : shapes.slice().sort((one, other) => rank(one) - rank(other))).slice(0, 5 * most);
    for (const shape of first) {
      const caption = isCard && captionOf(shape) ? content.labels[shape[LABEL]].name : captionOf(shape);
      if (!caption || placed.length >= most) continue;
      const text = fitted(g, caption, width - 12);
      const wide = g.measureText(text).width + 10;
      const [x1, y1, x2, y2] = shape[BOX].map((value, place) => value * view.scale + (place % 2 ? view.y : view.x));
      const places = [[x1, y1 - tall], [x1, y1], [x2 - wide, y1 - tall], [x1, y2], [x1, y2 - tall], [x2 - wide, y2]];
      const free = places
        .map(([x, y]) => [Math.min(Math.max(x, 0), Math.max(width - wide, 0)), Math.min(Math.max(y, 0), height - tall)])
        .find(([x, y]) => placed.every(([ox, oy, ow]) => x >= ox + ow || x + wide <= ox || Math.abs(y - oy) >= tall));
      if (!free) continue;
      const [x, y] = free;
      placed.push([x, y, wide]);
      g.fillStyle = colorOf(shape);
      g.beginPath();
      g.roundRect(x, y, wide, tall - 1, 4);
      g.fill();
      g.fillStyle = isDark(colorOf(shape)) ? "#fff" : "#101216";
      g.fillText(text, x + 5, y + tall / 2);
    }
  }

  /** Whether white text is easier to read on a color than black text. */
  function isDark(color) {
    const [red, green, blue] = [1, 3, 5].map((start) => (parseInt(color.slice(start, start + 2), 16) / 255) ** 2.2);
    return 0.21 * red + 0.72 * green + 0.07 * blue < 0.2;
  }

  function fitted(g, text, width) {
    if (g.measureText(text).width <= width) return text;
    let short = text;
    while (short.length > 1 && g.measureText(`${short}…`).width > width) short = short.slice(0, -1);
    return `${short}…`;
  }

  // --- cards ---

  const onScreen = new Set();
  let isPaintDue = false;

  function paintCards() {
    if (isPaintDue) return;
    isPaintDue = true;
    requestAnimationFrame(() => {
      isPaintDue = false;
      for (const frame of onScreen) if (!frame.card.hidden) paintCard(frame);
    });
  }

  function paintCard(frame) {
    const picture = frame.card.querySelector(".picture");
    let canvas = picture.querySelector("canvas");
    if (!canvas) {
      canvas = document.createElement("canvas");
      canvas.setAttribute("aria-hidden", "true");
      picture.append(canvas);
    }
    const scale = Math.min(canvas.clientWidth / frame.width, canvas.clientHeight / frame.height);
    if (scale > 0) {
      const x = (canvas.clientWidth - frame.width * scale) / 2;
      const y = (canvas.clientHeight - frame.height * scale) / 2;
      paint(canvas, frame, { scale, x, y }, { pills: MAX_PILLS_ON_CARD, lineWidth: 1.6 });
    }
  }

  const byCard = new Map(frames.map((frame) => [frame.card, frame]));
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const frame = byCard.get(target);
        if (isIntersecting) onScreen.add(frame);
        else {
          onScreen.delete(frame);
          target.querySelector("canvas")?.remove(); // its memory is free again
        }
      }
      paintCards();
    },
    { rootMargin: "300px" },
  );

  // --- the viewer ---

  const viewer = byId("viewer");
  const stage = byId("stage");
  const image = stage.querySelector("img");
  const canvas = stage.querySelector("canvas");
  const notice = stage.querySelector(".notice");
  const view = { scale: 1, x: 0, y: 0, fit: 1 };
  let walk = []; // the frames of the viewer: those that were visible when it was opened
  let place = 0;
  let showsLabels = true;
  let selected = null;
  let isDue = false;
  let isSlow = false;
  let settles = 0;

  function openViewer(frame) {
    walk = visible.includes(frame) ? visible : frames;
    viewer.showModal();
    show(walk.indexOf(frame));
    byId("next").focus();
  }

  function show(index) {
    if (index < 0 || index >= walk.length) return;
    place = index;
    const frame = walk[place];
    selected = null;
    byId("previous").setAttribute("aria-disabled", place === 0); // `disabled` would lose the focus
    byId("next").setAttribute("aria-disabled", place === walk.length - 1);
    const [title, details] = byId("viewer-title").children;
    title.textContent = frame.name;
    const corrections = frame.corrections === null ? "" : `, ${count(+frame.corrections.toFixed(1), "correction")} expected`;
    details.textContent = `${place + 1} of ${walk.length} · frame ${frame.number}, ${count(frame.count, "shape")}${corrections}`;
    byId("viewer-looked").checked = isLooked(frame);
    byId("cvat").hidden = !frame.url;
    if (frame.url) byId("cvat").href = frame.url;
    const small = frame.card.querySelector(".picture img")?.src ?? "";
    notice.hidden = true;
    image.hidden = !(frame.file || small);
    image.onerror = () => {
      if (!frame.file || image.src === small) return;
      image.src = small;
      notice.textContent = `Shown small: the folder ${decodeURIComponent(frame.file.split("/")[0])} is not beside this page.`;
      notice.hidden = false;
    };
    image.src = frame.file || small;
    image.style.width = `${frame.width}px`;
    image.style.height = `${frame.height}px`;
    isSlow = false;
    listShapes(frame);
    fit();
  }

  function fit() {
    const frame = walk[place];
    const { clientWidth: width, clientHeight: height } = stage;
    view.fit = view.scale = Math.min(width / frame.width, height / frame.height);
    view.x = (width - frame.width * view.scale) / 2;
    view.y = (height - frame.height * view.scale) / 2;
    repaint();
  }

  function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    const scale = Math.min(Math.max(view.scale * factor, view.fit * 0.8), Math.max(view.fit, 1) * 24);
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    view.scale = scale;
    pan(0, 0);
  }

  function pan(dx, dy) {
    const frame = walk[place];
    const keep = 60; // pixels of the image that stay on the screen
    view.x = Math.min(Math.max(view.x + dx, keep - frame.width * view.scale), stage.clientWidth - keep);
    view.y = Math.min(Math.max(view.y + dy, keep - frame.height * view.scale), stage.clientHeight - keep);
    repaint();
  }

  function repaint() {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      if (!viewer.open) return;
      const frame = walk[place];
      image.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
      image.style.imageRendering = view.scale > 6 ? "pixelated" : "auto";
      const pills = showsLabels ? MAX_PILLS : 0;
      clearTimeout(settles);
      if (isSlow) {
        paint(canvas, frame, view, { pills: 0, selected, stride: Math.ceil(frame.shapes.length / 3000) });
        settles = setTimeout(() => viewer.open && paint(canvas, frame, view, { pills, selected }), 120);
      } else {
        isSlow = paint(canvas, frame, view, { pills, selected }) > SLOW_MS;
      }
    });
  }

  function listShapes(frame) {
    const rows = frame.shapes
      .map((shape) => ({ shape, matches: matches(shape), rank: rankOf(shape) }))
      .sort((one, other) => other.matches - one.matches || one.rank - other.rank);
    const list = document.createElement("ul");
    list.append(
      ...rows.slice(0, MAX_LISTED).map(({ shape, matches: isMatching }) => {
        const [item, button, text, kind] = ["li", "button", "span", "small"].map((tag) => document.createElement(tag));
        item.className = isMatching ? "" : "other";
        button.type = "button";
        button.setAttribute("aria-pressed", "false");
        text.textContent = captionOf(shape) || content.labels[shape[LABEL]].name;
        kind.textContent = content.kinds[shape[KIND]].named || content.kinds[shape[KIND]].name === "machine" ? "" : content.kinds[shape[KIND]].name;
        button.append(dot(colorOf(shape)), text, kind);
        button.addEventListener("click", () => select(selected === shape ? null : shape, true));
        button.shape = shape;
        item.append(button);
        return item;
      }),
    );
    const parts = [list];
    const reasons = frame.card.querySelector(".reasons");
    if (reasons) parts.unshift(reasons.cloneNode(true));
    const left = frame.count - Math.min(rows.length, MAX_LISTED);
    if (left > 0) {
      const more = document.createElement("p");
      more.className = "soft";
      const undrawn = frame.count - frame.shapes.length;
      more.textContent = `and ${count(left, "more shape")}${undrawn ? `, of which ${undrawn.toLocaleString("en")} are not drawn` : ""}`;
      parts.push(more);
    }
    byId("side").replaceChildren(...parts);
    byId("side").scrollTop = 0;
  }

  function select(shape, isZoomed) {
    selected = shape;
    for (const button of byId("side").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", button.shape === shape);
      if (button.shape === shape && !isZoomed) button.scrollIntoView({ block: "nearest" });
    }
    if (shape && isZoomed) {
      const [x1, y1, x2, y2] = shape[BOX];
      const { clientWidth: width, clientHeight: height } = stage;
      const room = Math.min(width / Math.max(x2 - x1, 1), height / Math.max(y2 - y1, 1)) * 0.6;
      view.scale = Math.min(Math.max(room, view.fit), Math.max(view.fit, 1) * 4);
      view.x = width / 2 - ((x1 + x2) / 2) * view.scale;
      view.y = height / 2 - ((y1 + y2) / 2) * view.scale;
    }
    repaint();
  }

  function shapeAt(x, y) {
    const [left, top, margin] = [(x - view.x) / view.scale, (y - view.y) / view.scale, 4 / view.scale];
    const size = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
    let best = null;
    for (const shape of walk[place].shapes) {
      const [x1, y1, x2, y2] = shape[BOX];
      const isInside = left >= x1 - margin && left <= x2 + margin && top >= y1 - margin && top <= y2 + margin;
      if (isInside && matches(shape) && (!best || size(shape[BOX]) < size(best[BOX]))) best = shape;
    }
    return best;
  }

  function toggleLabels() {
    showsLabels = !showsLabels;
    byId("labels").setAttribute("aria-pressed", showsLabels);
    repaint();
  }

  function tick(value) {
    byId("viewer-looked").checked = value;
    setLooked(walk[place], value);
  }

  const KEYS = {
    ArrowRight: () => show(place + 1),
    n: () => show(place + 1),
    ArrowLeft: () => show(place - 1),
    p: () => show(place - 1),
    h: toggleLabels,
    x: () => tick(!isLooked(walk[place])),
    o: () => byId("cvat").hidden || byId("cvat").click(),
    0: fit,
    "+": () => zoom(1.3),
    "=": () => zoom(1.3),
    "-": () => zoom(1 / 1.3),
  };

  // one finger or the mouse moves the image, two fingers also change its size
  const pointers = new Map();
  let moved = 0;

  function onStage(event) {
    const { left, top } = stage.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  function spread() {
    const [[x1, y1], [x2, y2]] = [...pointers.values()];
    return { distance: Math.hypot(x2 - x1, y2 - y1), x: (x1 + x2) / 2, y: (y1 + y2) / 2 };
  }

  stage.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    if (pointers.size === 0) moved = 0;
    pointers.set(event.pointerId, onStage(event));
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("dragging");
  });
  stage.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId) || pointers.size > 2) return;
    const [oldX, oldY] = pointers.get(event.pointerId);
    const before = pointers.size === 2 ? spread() : null;
    const [x, y] = onStage(event);
    pointers.set(event.pointerId, [x, y]);
    moved += Math.abs(x - oldX) + Math.abs(y - oldY);
    if (before === null) {
      pan(x - oldX, y - oldY);
    } else {
      const after = spread();
      zoom(after.distance / Math.max(before.distance, 1), after.x, after.y);
      pan(after.x - before.x, after.y - before.y);
    }
  });
  for (const type of ["pointerup", "pointercancel"]) {
    stage.addEventListener(type, (event) => {
      if (!pointers.delete(event.pointerId)) return;
      if (pointers.size === 0) stage.classList.remove("dragging");
      if (type === "pointerup" && pointers.size === 0 && moved < 5) select(shapeAt(...onStage(event)), false);
    });
  }
  stage.addEventListener("dblclick", (event) => (view.scale > view.fit * 1.5 ? fit() : zoom(3, ...onStage(event))));
  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
      zoom(Math.exp(-Math.min(Math.max(pixels, -200), 200) * (event.ctrlKey ? 0.01 : 0.002)), ...onStage(event));
    },
    { passive: false },
  );
  viewer.addEventListener("keydown", (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, key)) return;
    event.preventDefault();
    KEYS[key]();
  });
  viewer.addEventListener("close", () => {
    clearTimeout(settles);
    const { card } = walk[place];
    (card.hidden ? byId("toggle-filters") : card.querySelector(".picture")).focus();
  });
  byId("previous").addEventListener("click", () => show(place - 1));
  byId("next").addEventListener("click", () => show(place + 1));
  byId("labels").addEventListener("click", toggleLabels);
  byId("fit").addEventListener("click", fit);
  byId("close").addEventListener("click", () => viewer.close());
  byId("viewer-looked").addEventListener("change", (event) => tick(event.target.checked));

  // --- start ---

  grid.addEventListener("click", (event) => {
    const picture = event.target.closest(".picture");
    if (picture) openViewer(byCard.get(picture.closest(".frame")));
  });
  grid.addEventListener("change", (event) => {
    const frame = byCard.get(event.target.closest(".frame"));
    const before = visible.indexOf(frame);
    setLooked(frame, event.target.checked);
    if (frame.card.hidden) visible[Math.min(before, visible.length - 1)]?.card.querySelector("input").focus();
  });
  for (const id of ["score-from", "score-to"]) byId(id).addEventListener("input", readControls);
  for (const id of ["hide-looked", "sort"]) byId(id).addEventListener("change", readControls);
  byId("reset").addEventListener("click", reset);
  byId("toggle-filters").addEventListener("click", () => showFilters(byId("filters").hidden));
  byId("sort").append(...Object.entries(SORTS).map(([value, [name]]) => new Option(name, value)));
  const shapes = frames.flatMap((frame) => frame.shapes);
  makeChips("run", null, new Set(frames.map((frame) => frame.run)));
  makeChips("doubt", null, new Set(frames.flatMap((frame) => frame.doubts)));
  makeChips("kind", content.kinds.map((kind) => kind.color), new Set(shapes.map((shape) => shape[KIND])));
  makeChips(
    "label",
    content.evaluation ? null : content.labels.map((label) => label.color),
    new Set([...shapes.map((shape) => shape[LABEL]), ...frames.flatMap((frame) => frame.tags)]),
  );
  for (const element of document.querySelectorAll("[data-js]")) element.hidden = false;
  frames.filter(isLooked).forEach(showLooked);
  showFilters(window.matchMedia("(min-width: 760px)").matches);
  readControls();
  cards.forEach((card) => observer.observe(card));
  window.addEventListener("resize", () => {
    paintCards();
    if (viewer.open) fit();
  });
})();
