figures.body = (place, { xy, names, bones, maps }) => {
  const size = 320, pad = 26, svgNS = "http://www.w3.org/2000/svg";
  const [low, high] = [0, 1].map((end) => [0, 1].map((c) => Math[end ? "max" : "min"](...xy.map((p) => p[c]))));
  const scale = (size - 2 * pad) / Math.max(high[0] - low[0], high[1] - low[1], 1e-6);
  const tall = (high[1] - low[1]) * scale + 2 * pad;
  const spots = xy.map((p) => [size / 2 - (p[0] - (low[0] + high[0]) / 2) * scale, tall - pad - (p[1] - low[1]) * scale]); // it faces us
  let shown = maps[0], picked = -1;

  const tools = element("div", place, { className: "tools" });
  const buttons = maps.map((each) => element("button", tools, { textContent: each.title, onclick: () => { shown = each; paint(); } }));
  tools.hidden = maps.length < 2;
  const both = element("div", place, { className: "body" }), left = element("div", both), svg = document.createElementNS(svgNS, "svg");
  svg.setAttribute("viewBox", `0 0 ${size} ${tall}`);
  left.append(svg);
  const shape = (tag, facts) => {
    const made = document.createElementNS(svgNS, tag);
    Object.entries(facts).forEach(([key, value]) => made.setAttribute(key, value));
    svg.append(made);
    return made;
  };
  const lines = bones.map(([a, b]) => shape("line", { x1: spots[a][0], y1: spots[a][1], x2: spots[b][0], y2: spots[b][1] }));
  const dots = spots.map(([x, y]) => shape("circle", { cx: x, cy: y, r: 7 }));
  const ramp = element("div", left, { className: "ramp" });
  const from = element("span", ramp), to = (element("i", ramp), element("span", ramp));
  const right = element("div", both), said = element("p", right, { className: "caption" }), list = element("div", right, { className: "ranks" });

  let digits = 1; // enough to tell the ends of the scale apart
  const text = (v) => (shown.percent ? `${(100 * v).toFixed(digits)} %` : String(Number(v.toPrecision(4))));
  const rowOf = () => {
    if (!Array.isArray(shown.joints[0])) return shown.joints;
    const asked = shown.joints.filter((_, v) => !shown.without.includes(v));
    return picked >= 0 ? shown.joints[picked] : shown.joints[0].map((_, v) => asked.reduce((sum, row) => sum + row[v], 0) / asked.length);
  };

  function paint() {
    const values = rowOf(), matrix = Array.isArray(shown.joints[0]), gone = new Set(shown.without);
    const known = [...values.filter((_, v) => !gone.has(v)), ...(shown.bones || [])];
    const [least, most] = [Math.min(...known), Math.max(...known)];
    digits = Math.max(1, Math.min(4, 1 + Math.ceil(-Math.log10(100 * (most - least) || 1))));
    const hue = (v) => `color-mix(in srgb, var(--heat) ${Math.round(100 * (most > least ? (v - least) / (most - least) : 0.5))}%, var(--cold))`;
    dots.forEach((dot, v) => {
      dot.style.fill = gone.has(v) ? "var(--card)" : hue(values[v]);
      dot.setAttribute("class", v === picked && matrix ? "picked" : gone.has(v) ? "gone" : "");
    });
    lines.forEach((line, b) => { line.style.stroke = shown.bones ? hue(shown.bones[b]) : "var(--faint)"; });
    from.textContent = text(least);
    to.textContent = text(most);
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", maps[i] === shown));
    said.textContent = !matrix ? "" : picked < 0 ? "mean over all joints; click on a joint to select it" : `${shown.picked} ${names[picked]}`;
    const order = values.map((_, v) => v).filter((v) => !gone.has(v)).sort((a, b) => values[b] - values[a]);
    list.replaceChildren(...order.map((v) => {
      const row = document.createElement("div");
      element("i", row).style.background = hue(values[v]);
      element("span", row, { textContent: names[v] });
      element("strong", row, { textContent: text(values[v]) });
      return row;
    }));
    place.dataset.map = shown.title;
  }

  const nearest = (x, y) => {
    const k = size / svg.clientWidth, far = spots.map((p) => (p[0] - k * x) ** 2 + (p[1] - k * y) ** 2);
    const v = far.indexOf(Math.min(...far));
    return far[v] < 20 * 20 ? v : -1;
  };
  pointer(svg, (x, y, event) => {
    const v = nearest(x, y);
    if (event.type === "pointerdown" && Array.isArray(shown.joints[0])) { picked = v === picked || shown.without.includes(v) ? -1 : v; paint(); }
    tip(v < 0 ? "" : shown.without.includes(v) ? `${names[v]}: no value` : `${names[v]}: ${text(rowOf()[v])}`, event);
  }, () => {});
  paint();
};
