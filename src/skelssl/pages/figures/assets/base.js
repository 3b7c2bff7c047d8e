"use strict";
const figures = {};
const redraws = [];

function start() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const setTheme = (name) => { root.dataset.theme = name; redraws.forEach((draw) => draw()); };
  dark.addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
  document.getElementById("theme").onclick = () => setTheme(root.dataset.theme === "dark" ? "light" : "dark");
  setTheme(dark.matches ? "dark" : "light");
  for (const place of document.querySelectorAll("[data-figure]")) {
    figures[place.dataset.figure](place, JSON.parse(place.querySelector("script").textContent));
  }
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function element(tag, parent, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  parent.append(made);
  return made;
}

/* A canvas as wide as its parent, height = width * ratio (or so many pixels), sharp on any screen. */
function sketch(parent, className, size, draw) {
  const canvas = element("canvas", parent, { className });
  const redraw = () => {
    const width = parent.clientWidth, height = Math.round(size(width)), sharp = devicePixelRatio || 1;
    if (!width) return;
    if (canvas.width !== Math.round(width * sharp) || canvas.height !== Math.round(height * sharp)) {
      canvas.width = Math.round(width * sharp);
      canvas.height = Math.round(height * sharp);
      canvas.style.height = `${height}px`;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    pen.clearRect(0, 0, width, height);
    draw(pen, width, height);
  };
  let drawn = parent.clientWidth;
  new ResizeObserver(() => {
    if (parent.clientWidth === drawn) return; // our own change of height
    drawn = parent.clientWidth;
    requestAnimationFrame(redraw);
  }).observe(parent);
  redraw();
  redraws.push(redraw);
  return { canvas, redraw };
}

function tip(text, event) {
  const box = document.getElementById("tip");
  box.style.opacity = text ? 1 : 0;
  if (!text) return;
  box.textContent = text;
  box.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = `${event.clientY + 18 + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 12 : event.clientY + 18}px`;
}

/* Calls at(x, y, event) with the pointer's place inside the canvas, and away() when it leaves. */
function pointer(canvas, at, away) {
  const place = (event) => { const box = canvas.getBoundingClientRect(); at(event.clientX - box.left, event.clientY - box.top, event); };
  canvas.addEventListener("pointermove", place);
  canvas.addEventListener("pointerdown", place);
  canvas.addEventListener("pointerleave", () => { tip(""); away(); });
}
