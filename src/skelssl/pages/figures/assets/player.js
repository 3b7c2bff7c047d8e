figures.player = (place, { bones, side, head, together, small, joints: names, rows, groups, clips }) => {
  const frames = Math.max(...clips.map((clip) => clip.x.length));
  const view = { yaw: 0.45, pitch: 0.16 }, speeds = [1, 0.5, 0.25];
  const gutter = 52, title = 16, thin = 4; // pixels of a token map: its left margin, a person's heading, a row
  let time = 0, speed = 0, last = 0, drawn = -1;
  let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;

  const tools = element("div", place, { className: "tools" });
  const play = element("button", tools);
  const slower = element("button", tools, { textContent: "1×", title: "speed" });
  const scrub = element("input", tools, { type: "range", min: 0, max: frames - 1, ariaLabel: "frame" });
  const clock = element("output", tools);
  const visible = new IntersectionObserver((found) => found.forEach(({ target, isIntersecting }) => {
    target.shown = isIntersecting;
    if (isIntersecting) target.sketches.forEach((each) => each.redraw());
  }), { rootMargin: "80px" });
  const homes = groups.flatMap(([name, count]) => {
    if (name) element("h3", place, { className: "row", textContent: name });
    return Array(count).fill(element("div", place, { className: small ? "stage small" : "stage" }));
  });
  const cards = clips.map((clip, i) => {
    const card = element("div", homes[i]);
    element("h3", card, { textContent: clip.title, className: clip.mark });
    const kept = new Set(clip.kept), gone = new Set(clip.dropped);
    const pace = together ? clip.x.length / frames : 1, at = (t) => Math.min(Math.floor(t * pace + 1e-6), clip.x.length - 1);
    const body = sketch(element("div", card), "view", (w) => w * 1.1, (pen, w, h) => drawClip(pen, w, h, clip, at(time), kept, gone));
    turn(body.canvas);
    card.sketches = [body];
    if (!small) {
      const strip = clip.tokens
        ? tokenMap(card, clip, () => at(time))
        : sketch(element("div", card), "strip", () => Math.max(18, 14 * clip.bodies.length + 4), (pen, w, h) => drawStrip(pen, w, h, clip, at(time), kept));
      seek(strip.canvas, clip.x.length, pace, clip.tokens ? gutter : 0);
      card.sketches.push(strip);
    }
    const people = clip.bodies.length ? element("div", card, { className: "legend names" }) : null;
    clip.bodies.forEach((name, m) => swatch(people, bodyColor(m), `${m + 1} · ${name}`));
    element("p", card, { textContent: clip.note });
    visible.observe(card);
    return card;
  });
  const legend = element("div", place, { className: "legend" });
  [["left", "left side"], ["right", "right side"], ["trunk", "trunk"]].forEach(([name, text]) => swatch(legend, name, text));
  if (clips.some((clip) => clip.dropped.length)) ring("dropped");
  if (clips.some((clip) => clip.tokens?.kind === "hidden")) ring("masked");
  if (clips.some((clip) => clip.tokens?.kind === "weight")) swatch(legend, "c3", "token weight");

  function ring(text) {
    element("i", element("span", legend), { className: "ring" });
    legend.lastChild.append(text);
  }

  function swatch(parent, name, text) {
    element("i", element("span", parent)).style.background = `var(--${name})`;
    parent.lastChild.append(text);
  }

  function bodyColor(m) { return `c${m % 6}`; }

  function project(p, w, h) {
    const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
    const x = cy * p[0] + sy * p[2], z = cy * p[2] - sy * p[0]; // rotated about the vertical axis
    const y = cp * p[1] + sp * z, depth = cp * z - sp * p[1], near = 4.2 / (4.2 + depth); // seen from -z, x to the left
    return [w / 2 - x * near * w * 0.46, h * 0.5 - y * near * w * 0.46, depth];
  }

  function drawClip(pen, w, h, clip, t, kept, gone) {
    drawFloor(pen, w, h, clip.floor);
    clip.x[t].forEach((flat, m) => {
      if (!clip.present[t][m]) return;
      const joints = side.map((_, v) => project([0, 1, 2].map((c) => flat[3 * v + c] / 1000), w, h));
      pen.globalAlpha = kept.has(t) ? 1 : 0.18;
      const now = tokensAt(clip, m, t), hides = clip.tokens?.kind === "hidden";
      const unseen = new Set(clip.unseen?.[t][m]);
      if (hides) drawBody(pen, w, joints, unseen, new Set([...joints.keys()].filter((v) => now[v] || gone.has(v))), 1.3);
      else drawBody(pen, w, joints, unseen, gone);
      if (now && !hides) drawWeights(pen, w, joints, now.map((level) => level / clip.tokens.most));
      if (clip.bodies.length > 1 || clip.tokens?.cells.length > 1) drawNumber(pen, w, joints, m);
    });
    pen.globalAlpha = 1;
    if (kept.has(t)) return;
    pen.fillStyle = color("gone");
    pen.font = "600 12px system-ui, sans-serif";
    pen.fillText("frame dropped", 12, 22);
  }

  function drawFloor(pen, w, h, floor) {
    pen.strokeStyle = color("faint");
    pen.lineWidth = 1;
    pen.beginPath();
    for (let i = -4; i <= 4; i++) for (const [a, b] of [[[i / 4, floor, -1], [i / 4, floor, 1]], [[-1, floor, i / 4], [1, floor, i / 4]]]) {
      pen.moveTo(...project(a, w, h));
      pen.lineTo(...project(b, w, h));
    }
    pen.stroke();
  }

  function drawBody(pen, w, joints, unseen, gone, plain = 0.62) {
    const hue = (v) => color(["trunk", "left", "right"][side[v]]), thick = w / 62;
    pen.lineCap = "round";
    const order = [...bones].sort((a, b) => joints[b[0]][2] + joints[b[1]][2] - joints[a[0]][2] - joints[a[1]][2]);
    for (const [child, parent] of order) {
      if (unseen.has(child) || unseen.has(parent)) continue;
      const cut = gone.has(child) || gone.has(parent);
      pen.strokeStyle = cut ? color("gone") : hue(side[child] ? child : parent);
      pen.lineWidth = cut ? 1.4 : thick;
      pen.setLineDash(cut ? [3, 4] : []);
      pen.beginPath();
      pen.moveTo(joints[child][0], joints[child][1]);
      pen.lineTo(joints[parent][0], joints[parent][1]);
      pen.stroke();
    }
    pen.setLineDash([]);
    joints.forEach(([x, y], v) => {
      if (unseen.has(v)) return;
      const ring = gone.has(v);
      pen.beginPath();
      pen.arc(x, y, v === head ? thick * 1.9 : ring ? thick * 0.95 : thick * plain, 0, 7);
      pen.fillStyle = ring ? color("hair") : hue(v);
      pen.fill();
      if (!ring) return;
      pen.strokeStyle = color("gone");
      pen.lineWidth = 2;
      pen.stroke();
    });
  }

  function drawWeights(pen, w, joints, shares) {
    joints.forEach(([x, y], v) => {
      pen.beginPath();
      pen.arc(x, y, (w / 62) * (0.6 + 1.8 * shares[v]), 0, 7);
      pen.globalAlpha = shares[v];
      pen.fillStyle = color("c3");
      pen.fill();
    });
    pen.globalAlpha = 1;
  }

  function drawNumber(pen, w, joints, m) {
    const [x, y] = joints.reduce((top, joint) => (joint[1] < top[1] ? joint : top));
    pen.fillStyle = color(bodyColor(m));
    pen.font = "600 12px system-ui, sans-serif";
    pen.fillText(m + 1, x - 3, y - w / 30 - 4); // above the head
  }

  function drawStrip(pen, w, h, clip, t, kept) {
    const step = w / clip.x.length, gap = step > 4 ? 1 : 0;
    if (clip.bodies.length) clip.bodies.forEach((_, m) => {
      pen.fillStyle = color("faint");
      pen.fillRect(0, 14 * m + 8, w, 2);
      pen.fillStyle = color(bodyColor(m));
      clip.present.forEach((there, i) => { if (there[m]) pen.fillRect(i * step, 14 * m + 4, step - gap, 10); });
    });
    else clip.x.forEach((_, i) => {
      pen.fillStyle = color(kept.has(i) ? "accent" : "gone");
      pen.globalAlpha = kept.has(i) ? 0.55 : 0.9;
      pen.fillRect(i * step, kept.has(i) ? 3 : 8, step - gap, kept.has(i) ? 12 : 2);
    });
    pen.globalAlpha = 1;
    pen.fillStyle = color("ink");
    pen.fillRect((t + 0.5) * step - 1, 0, 2, h);
  }

  function tokensAt({ tokens, x }, m, t) { return tokens?.cells[m]?.[Math.floor((t * tokens.segments) / x.length)]; }

  /* Joints x segments of each person below the other; only the mark of the moment moves. */
  function tokenMap(card, clip, at) {
    const { kind, most, segments, cells } = clip.tokens, order = rows.flatMap(([, members]) => members);
    const tops = cells.map((_, m) => cells.slice(0, m).reduce((sum, cell) => sum + title + (cell ? thin * order.length + 6 : 0), 0));
    const map = element("div", card, { className: "map" });
    const height = tops.at(-1) + title + (cells.at(-1) ? thin * order.length : 0);
    const { canvas } = sketch(map, "", () => height, (pen, w) => cells.forEach((grid, m) => {
      pen.font = "600 11px system-ui, sans-serif";
      pen.fillStyle = color(bodyColor(m));
      pen.fillText(`person ${m + 1}${grid ? "" : ": absent"}`, 0, tops[m] + 11);
      if (grid) drawGrid(pen, (w - gutter) / segments, tops[m] + title, grid, clip.tokens);
    }));
    pointer(canvas, (x, y, event) => {
      const m = tops.findLastIndex((top) => top + title <= y), s = Math.floor(((x - gutter) * segments) / (canvas.clientWidth - gutter));
      const v = order[Math.floor((y - tops[m] - title) / thin)], level = cells[m]?.[s]?.[v];
      const says = kind === "hidden" ? ["visible", "masked"][level] : `about ${Math.round((100 * level) / most)} % of the largest`;
      tip(level === undefined ? "" : `${names[v]}, segment ${s + 1} of ${segments}: ${says}`, event);
    }, () => {});
    const mark = element("i", map), last = cells.findLastIndex(Boolean);
    mark.style.height = `${last < 0 ? 0 : tops[last] + title + thin * order.length}px`;
    const redraw = () => { mark.style.left = `calc(${gutter}px + (100% - ${gutter}px) * ${(at() + 0.5) / clip.x.length})`; };
    return { canvas, redraw };
  }

  function drawGrid(pen, step, top, grid, { kind, most }) {
    const gap = step > 4 ? 1 : 0, hues = side.map((which) => color(["trunk", "left", "right"][which]));
    const [gone, weight, ground] = ["gone", "c3", "hair"].map(color);
    pen.font = "10px system-ui, sans-serif";
    let y = top;
    for (const [part, members] of rows) {
      pen.fillStyle = color("soft");
      pen.fillText(part, 0, y + (thin * members.length) / 2 + 3);
      for (const v of members) {
        grid.forEach((segment, s) => {
          const cell = [gutter + s * step, y, step - gap, thin - 0.5];
          pen.fillStyle = ground;
          pen.fillRect(...cell);
          pen.fillStyle = kind === "weight" ? weight : segment[v] ? gone : hues[v];
          pen.globalAlpha = kind === "weight" ? segment[v] / most : segment[v] ? 0.16 : 1;
          pen.fillRect(...cell);
          pen.globalAlpha = 1;
        });
        y += thin;
      }
    }
  }

  function turn(canvas) {
    let from = null;
    canvas.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      view.yaw += (event.clientX - from[0]) / 120;
      view.pitch = Math.max(-0.4, Math.min(1.3, view.pitch + (event.clientY - from[1]) / 160));
      from = [event.clientX, event.clientY];
      show(true);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
  }

  function seek(canvas, count, pace, left) {
    const to = (event) => { if (event.buttons) jump(Math.ceil(Math.floor((count * (event.offsetX - left)) / (canvas.clientWidth - left)) / pace)); };
    canvas.addEventListener("pointerdown", to);
    canvas.addEventListener("pointermove", to);
  }

  function jump(frame) { time = Math.max(0, Math.min(frame, frames - 1)); setPlaying(false); show(true); }
  function setPlaying(on) {
    playing = on;
    play.textContent = on ? "❚❚ pause" : "▶ play";
  }
  function show(force) {
    const frame = Math.floor(time);
    if (frame === drawn && !force) return;
    drawn = frame;
    scrub.value = frame;
    clock.value = `frame ${frame + 1} / ${frames}`;
    place.dataset.frame = frame;
    cards.filter((card) => card.shown).forEach((card) => card.sketches.forEach((each) => each.redraw()));
  }
  function tick(now) {
    if (playing) time = (time + Math.min(now - last, 100) * 0.02 * speeds[speed]) % frames; // 20 frames a second
    last = now;
    show(false);
    requestAnimationFrame(tick);
  }
  play.onclick = () => setPlaying(!playing);
  slower.onclick = () => { speed = (speed + 1) % speeds.length; slower.textContent = `${speeds[speed]}×`; };
  scrub.oninput = () => jump(Number(scrub.value));
  setPlaying(playing);
  requestAnimationFrame(tick);
};
