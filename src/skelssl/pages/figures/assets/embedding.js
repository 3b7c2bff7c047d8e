figures.embedding = (place, { xy, names, groups }) => {
  let by = Object.keys(groups)[0], picked = -1, hover = -1;
  const tools = element("div", place, { className: "tools" });
  const shade = (i) => {
    const { names: all } = groups[by], dark = document.documentElement.dataset.theme === "dark";
    if (all.length <= 5) return color(`c${i}`);
    return `hsl(${(i * 137.508) % 360} ${55 + 15 * (i % 2)}% ${(dark ? 62 : 44) + 8 * (i % 3 - 1)}%)`; // golden angle
  };
  const buttons = Object.keys(groups).map((key) => {
    const button = element("button", tools, { textContent: key });
    button.onclick = () => { by = key; picked = -1; refill(); };
    return button;
  });
  const list = element("select", tools, { ariaLabel: "group to highlight" });
  list.onchange = () => { picked = Number(list.value); redraw(); };
  const refill = () => {
    buttons.forEach((button) => button.setAttribute("aria-pressed", button.textContent === by));
    list.replaceChildren(new Option("all", -1), ...groups[by].names.map((name, i) => new Option(name, i)));
    redraw();
  };
  const spot = (i, width, height) => [12 + xy[i][0] * (width - 24), height - 12 - xy[i][1] * (height - 24)];
  const { canvas, redraw } = sketch(place, "map", (width) => Math.min(width * 0.8, 560), (pen, width, height) => {
    const lit = hover >= 0 && picked < 0 ? groups[by].of[hover] : picked, radius = xy.length > 3000 ? 2 : 3.4;
    const order = xy.map((_, i) => i).sort((a, b) => (groups[by].of[a] === lit) - (groups[by].of[b] === lit));
    for (const i of order) {
      const group = groups[by].of[i], [x, y] = spot(i, width, height);
      pen.globalAlpha = lit < 0 ? 0.8 : group === lit ? 1 : 0.1;
      pen.fillStyle = shade(group);
      pen.beginPath();
      pen.arc(x, y, i === hover ? radius * 2 : radius, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
  });
  pointer(canvas, (x, y, event) => {
    let best = 14 * 14, found = -1;
    xy.forEach((_, i) => {
      const [px, py] = spot(i, canvas.clientWidth, canvas.clientHeight), far = (px - x) ** 2 + (py - y) ** 2;
      if (far < best) [best, found] = [far, i];
    });
    if (found !== hover) { hover = found; redraw(); }
    const facts = Object.values(groups).map((group) => group.names[group.of[found]]);
    tip(found < 0 ? "" : [names[found], ...facts].filter(Boolean).join("\n"), event);
  }, () => { hover = -1; redraw(); });
  refill();
};
