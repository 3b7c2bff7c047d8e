figures.confusion = (place, given) => {
  const wrong = given.counts.map((row, t) => 1 - row[t] / Math.max(1, row.reduce((a, b) => a + b, 0)));
  const sorts = { "by class": () => given.names.map((_, i) => i), "worst first": () => given.names.map((_, i) => i).sort((a, b) => wrong[b] - wrong[a]) };
  let { names, counts } = given;
  const tools = element("div", place, { className: "tools" });
  const buttons = Object.keys(sorts).map((key) => element("button", tools, { textContent: key, onclick: () => sort(key) }));
  function sort(key) {
    const order = sorts[key]();
    names = order.map((i) => given.names[i]);
    counts = order.map((t) => order.map((p) => given.counts[t][p]));
    totals = order.map((t) => sums[t]);
    buttons.forEach((button) => button.setAttribute("aria-pressed", button.textContent === key));
    place.dataset.first = names[0];
    redraw();
  }
  const sums = counts.map((row) => row.reduce((a, b) => a + b, 0));
  const size = names.length;
  let totals = sums;
  let geometry = { left: 0, cell: 1 }, hover = null;
  const fraction = (t, p) => (totals[t] ? counts[t][p] / totals[t] : 0);
  const { canvas, redraw } = sketch(place, "heat", (width) => {
    const left = width > 420 && size <= 40 ? 118 : 0;
    geometry = { left, cell: (width - left) / size };
    return geometry.cell * size;
  }, (pen, width, height) => {
    const { left, cell } = geometry, gap = cell > 9 ? 1 : 0;
    pen.fillStyle = color("hair");
    pen.fillRect(left, 0, width - left, height);
    pen.fillStyle = color("accent");
    for (let t = 0; t < size; t++) for (let p = 0; p < size; p++) {
      pen.globalAlpha = Math.sqrt(fraction(t, p)); // the root keeps rare errors visible
      if (counts[t][p]) pen.fillRect(left + p * cell, t * cell, cell - gap, cell - gap);
    }
    pen.globalAlpha = 1;
    if (hover) {
      pen.strokeStyle = color("ink");
      pen.strokeRect(left + hover.p * cell, hover.t * cell, cell, cell);
    }
    if (!left) return;
    pen.font = `${Math.min(12, cell * 0.85)}px system-ui, sans-serif`;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    names.forEach((name, t) => {
      pen.fillStyle = color(hover && hover.t === t ? "ink" : "soft");
      pen.fillText(name.length > 19 ? `${name.slice(0, 18)}…` : name, left - 8, (t + 0.5) * cell, left - 8);
    });
  });
  pointer(canvas, (x, y, event) => {
    const p = Math.floor((x - geometry.left) / geometry.cell), t = Math.floor(y / geometry.cell);
    hover = p >= 0 && t >= 0 && p < size && t < size ? { t, p } : null;
    redraw();
    if (!hover) return tip("");
    const many = `${counts[t][p]} of ${totals[t]} clips (${(100 * fraction(t, p)).toFixed(1)} %)`;
    tip(t === p ? `${names[t]}\ncorrect: ${many}` : `${names[t]}\npredicted as ${names[p]}: ${many}`, event);
  }, () => { hover = null; redraw(); });
  sort("by class");
};
