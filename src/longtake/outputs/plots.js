// SPDX-License-Identifier: Apache-2.0
// One cursor for all plots, the map, the frame and the cloud: a hand, a finger or the arrow keys move it.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("series").textContent);
  const at = (id) => document.getElementById(id);
  const plots = at("plots"), last = data.places.length - 1;
  const outputs = [...plots.querySelectorAll(".plot")].map((plot) => {
    const curve = data.curves[plot.dataset.curve];
    return { out: plot.querySelector("output"), dot: plot.querySelector(".dot"), curve };
  });
  const marker = at("marker");
  let now = -1, shown = -1;

  const words = (value) => (Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3))));
  const nearest = (list, wanted, key) => { // in a list that grows
    let a = 0, b = list.length - 1;
    while (a < b) { const m = (a + b) >> 1; if (key(list[m]) < wanted) a = m + 1; else b = m; }
    return a > 0 && wanted - key(list[a - 1]) < key(list[a]) - wanted ? a - 1 : a;
  };
  const set = (column, told) => {
    column = Math.min(Math.max(column, 0), last);
    if (column === now) return;
    now = column;
    plots.style.setProperty("--at", data.places[now]);
    for (const { out, dot, curve } of outputs) {
      const value = curve ? curve.values[now] : null;
      out.textContent = curve ? (value === null ? "–" : words(value)) : data.states[data.tracking[now]];
      if (!dot) continue;
      dot.hidden = value === null;
      if (value !== null) dot.style.top = `${100 - (100 * Math.min(Math.max(value - curve.low, 0), curve.high - curve.low)) / (curve.high - curve.low)}%`;
    }
    const moment = `frame ${data.index[now]} · ${data.time[now].toFixed(2)} s · tracking ${data.states[data.tracking[now]]}`;
    at("moment").textContent = moment;
    plots.setAttribute("aria-valuenow", now);
    plots.setAttribute("aria-valuetext", moment);
    if (data.pictures.length) {
      const k = nearest(data.pictures, now, (picture) => picture[0]);
      if (k !== shown) { shown = k; [at("seen").src, at("far").src] = data.pictures[k].slice(1); }
    }
    const spot = data.map && data.map[now];
    if (marker) {
      marker.toggleAttribute("hidden", !spot);
      if (spot) { marker.style.left = `${spot[0]}%`; marker.style.top = `${spot[1]}%`; marker.style.rotate = `${spot[2]}deg`; }
    }
    if (!told) document.dispatchEvent(new CustomEvent("longtake-plots", { detail: data.number[now] }));
  };

  const follow = (event) => {
    const area = plots.querySelector(".area").getBoundingClientRect();
    set(nearest(data.places, (event.clientX - area.left) / Math.max(area.width, 1), (place) => place));
  };
  plots.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse" || event.buttons) follow(event); });
  plots.addEventListener("pointerdown", follow);
  plots.addEventListener("keydown", (event) => {
    const far = Math.max(1, Math.round(last / 10));
    const go = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now + far, PageDown: now - far, Home: 0, End: last }[event.key];
    if (go === undefined) return;
    event.preventDefault();
    set(go);
  });
  document.addEventListener("longtake-viewer", (event) => set(nearest(data.number, event.detail, (number) => number), true));
  plots.setAttribute("aria-valuemax", last);
  at("along").classList.add("alive");
  set(last, true);
})();
