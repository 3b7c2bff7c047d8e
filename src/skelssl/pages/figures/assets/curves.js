figures.curves = (place, lines) => {
  const svg = place.previousElementSibling, cursor = svg.querySelector(".cursor");
  const nearest = (values, x) => values.reduce((best, v, i) => (Math.abs(v - x) < Math.abs(values[best] - x) ? i : best), 0);
  pointer(svg, (x, y, event) => {
    const width = svg.clientWidth, view = svg.viewBox.baseVal.width;
    const found = lines.map((line) => ({ line, i: nearest(line.at, x / width) }));
    const { line, i } = found[0];
    cursor.setAttribute("x1", line.at[i] * view);
    cursor.setAttribute("x2", line.at[i] * view);
    cursor.style.opacity = 1;
    tip([`${line.unit} ${line.step[i]}`, ...found.map((f) => `${f.line.name}: ${f.line.text[f.i]}`)].join("\n"), event);
  }, () => { cursor.style.opacity = 0; });
};
