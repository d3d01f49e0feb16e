"use strict";
// Under the pointer: the value of each curve, read back from its path.
for (const svg of document.querySelectorAll("svg[data-x]")) {
  const area = svg.parentElement, box = svg.viewBox.baseVal;
  const range = (name) => svg.getAttribute(name).split(" ").map(Number);
  const [x0, x1] = range("data-x"), [y0, y1] = range("data-y");
  const percent = svg.hasAttribute("data-share"), time = svg.getAttribute("data-axis") === "seconds";
  let curves = null, tip = null, cross = null;
  const read = () => [...svg.querySelectorAll("path[data-label]")].map((path) => ({
    label: path.dataset.label,
    colour: [...path.classList].find((name) => /^c\d$/.test(name)),
    points: path.getAttribute("d").slice(1).split("L").map((pair) => pair.split(" ").map(Number)),
  }));
  const add = (kind, parent) => parent.appendChild(Object.assign(document.createElement("div"), {className: kind}));
  const write = (value) => {
    if (percent) return Math.round(100 * value) + " %";
    const span = y1 - y0, digits = Math.max(0, Math.min(8, 3 - Math.floor(Math.log10(span))));
    return value.toLocaleString("en", {minimumFractionDigits: span > 500 ? 0 : digits, maximumFractionDigits: span > 500 ? 0 : digits});
  };
  const place = (value) => {
    if (!time) return Math.round(value).toLocaleString("en") + " steps";
    if (x1 < 60) return value.toFixed(1) + " s";
    const whole = Math.round(value), pad = (number) => String(number).padStart(2, "0");
    return whole < 3600 ? `${Math.floor(whole / 60)}m ${pad(whole % 60)}s` : `${Math.floor(whole / 3600)}h ${pad(Math.floor(whole % 3600 / 60))}m`;
  };
  const leave = () => { tip?.remove(); cross?.remove(); tip = cross = null; };
  const move = (event) => {
    const frame = svg.getBoundingClientRect();
    const at = Math.min(1, Math.max(0, (event.clientX - frame.left) / frame.width)), x = at * box.width;
    curves ??= read();
    if (!curves.length) return;
    tip ??= add("tip", area);
    cross ??= add("cross", area);
    cross.style.left = 100 * at + "%";
    tip.replaceChildren();
    add("", tip).textContent = place(x0 + at * (x1 - x0));
    for (const {label, colour, points} of curves) {
      if (x < points[0][0] - 1 || x > points.at(-1)[0] + 1) continue;
      const after = points.findIndex((point) => point[0] >= x);
      const [b, a] = [points[after < 0 ? points.length - 1 : after], points[Math.max(0, (after < 0 ? points.length : after) - 1)]];
      const y = a[1] + (b[0] > a[0] ? (b[1] - a[1]) * (x - a[0]) / (b[0] - a[0]) : 0);
      const row = add("", tip);
      row.append(Object.assign(document.createElement("i"), {className: colour}), label);
      row.append(Object.assign(document.createElement("b"), {textContent: write(y0 + (1 - y / box.height) * (y1 - y0))}));
    }
    const left = at < .5 ? at * frame.width + 12 : at * frame.width - tip.offsetWidth - 12;
    tip.style.left = Math.max(0, Math.min(frame.width - tip.offsetWidth, left)) + "px";
  };
  area.addEventListener("pointermove", move);
  area.addEventListener("pointerdown", move);
  area.addEventListener("pointerleave", leave);
}
