// SPDX-License-Identifier: Apache-2.0
// The scene of the camera page: points that grow, the path, the camera. WebGL 2, nothing else.
"use strict";
const Scene = (() => {
  const MOST = 600000, canvas = document.getElementById("scene");
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: true, preserveDrawingBuffer: true });
  const add = (a, b, s = 1) => [a[0] + s * b[0], a[1] + s * b[1], a[2] + s * b[2]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const unit = (a) => { const n = Math.hypot(...a) || 1; return a.map((v) => v / n); };

  const program = (vertex, fragment) => {
    const made = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, "#version 300 es\nprecision highp float;\n" + text);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(made, shader);
    }
    gl.bindAttribLocation(made, 0, "place");
    gl.bindAttribLocation(made, 1, "color");
    gl.linkProgram(made);
    return made;
  };
  let dots, lines, points, path;
  if (gl) {
    dots = program(
      `in vec3 place; in vec4 color; out vec3 paint; uniform mat4 clip; uniform float size;
       void main() { gl_Position = clip * vec4(place, 1.); gl_PointSize = clamp(size / gl_Position.w, 1.6, 22.); paint = color.rgb; }`,
      `in vec3 paint; out vec4 result;
       void main() { vec2 q = gl_PointCoord - .5; if (dot(q, q) > .25) discard; result = vec4(paint, 1.); }`);
    lines = program(
      `in vec3 place; in vec4 color; out vec4 paint; uniform mat4 clip; void main() { gl_Position = clip * vec4(place, 1.); paint = color; }`,
      `in vec4 paint; out vec4 result; void main() { result = vec4(paint.rgb * paint.a, paint.a); }`);
    points = gl.createBuffer();
    path = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, points);
    gl.bufferData(gl.ARRAY_BUFFER, 16 * MOST, gl.DYNAMIC_DRAW);
  }

  let filled = 0, next = 0, scale = 1, cameras = [], lens = [0.6, 0.45], centre = [0, 0, 1], aim = [0, 0, 1];
  const rest = { yaw: 0.5, pitch: 0.36, far: 2.9 };
  let eye = { ...rest }, stale = true; // drawn only when something has changed: phones live on a battery

  // rows: 16 bytes a point (xyz float32, rgba uint8)
  const grow = (rows) => {
    if (!gl) return;
    let count = rows.byteLength / 16, from = 0;
    gl.bindBuffer(gl.ARRAY_BUFFER, points);
    while (from < count) { // the oldest points make room
      const run = Math.min(count - from, MOST - next);
      gl.bufferSubData(gl.ARRAY_BUFFER, 16 * next, new Uint8Array(rows, 16 * from, 16 * run));
      filled = Math.max(filled, next + run);
      next = (next + run) % MOST;
      from += run;
    }
    stale = true;
  };
  const see = (pose, depth, tangents) => { // world_from_cam rows, a typical depth, half width and height at depth 1
    if (!cameras.length) { scale = depth || 1; centre = aim = [0, 0, 0.8 * scale]; }
    cameras.push(pose);
    if (cameras.length > 20000) cameras = cameras.filter((_, i) => i % 2 === 0);
    lens = tangents;
    const at = pose.slice(0, 3).map((row) => row[3]), ahead = pose.slice(0, 3).map((row) => row[2]);
    aim = add(at, ahead, 0.8 * scale);
    stale = true;
  };
  const clear = () => { filled = next = 0; cameras = []; eye = { ...rest }; stale = true; };

  // --- drawing ---
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const ramp = [[88, 118, 224], [142, 96, 214], [214, 84, 140], [240, 150, 70]];
  const mix = (t) => {
    const x = Math.min(Math.max(t, 0), 1) * (ramp.length - 1), i = Math.min(Math.floor(x), ramp.length - 2);
    return ramp[i].map((v, k) => v + (x - i) * (ramp[i + 1][k] - v));
  };
  const strokes = () => { // everything that is a line, as one list of segments
    const places = [], colors = [];
    const segment = (a, b, c, d, alpha = 255) => { places.push(...a, ...b); colors.push(...c, alpha, ...d, alpha); };
    const ink = rgb(style("--ink")), muted = rgb(style("--muted"));
    const y = 0.62 * scale, step = 0.5 * scale; // a floor to stand on
    for (let i = -8; i <= 8; i++) {
      const fade = 46 * (1 - Math.abs(i) / 9);
      segment([i * step, y, -4 * scale], [i * step, y, 4 * scale], muted, muted, fade);
      segment([-4 * scale, y, i * step], [4 * scale, y, i * step], muted, muted, fade);
    }
    const spots = cameras.map((pose) => pose.slice(0, 3).map((row) => row[3]));
    for (let i = 1; i < spots.length; i++) segment(spots[i - 1], spots[i], mix((i - 1) / spots.length), mix(i / spots.length));
    const frustum = (pose, size, color, alpha) => {
      const [tx, ty] = lens, spot = pose.slice(0, 3).map((row) => row[3]);
      const corner = (sx, sy) => pose.slice(0, 3).map((row) => row[3] + size * (row[0] * sx * tx + row[1] * sy * ty + row[2]));
      const four = [corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1)];
      four.forEach((c, i) => { segment(spot, c, color, color, alpha); segment(c, four[(i + 1) % 4], color, color, alpha); });
    };
    const every = Math.max(1, Math.ceil(cameras.length / 40));
    cameras.forEach((pose, i) => { if (i % every === 0) frustum(pose, 0.1 * scale, mix(i / cameras.length), 110); });
    if (cameras.length) frustum(cameras[cameras.length - 1], 0.24 * scale, ink, 255);
    return [new Float32Array(places), new Uint8Array(colors)];
  };
  const clip = (place, r, d, f, tx, ty, near, far) => {
    const a = (far + near) / (far - near), b = (-2 * far * near) / (far - near);
    const rows = [r.map((v) => v / tx), d.map((v) => -v / ty), f.map((v) => v * a), f];
    const last = [-dot(r, place) / tx, dot(d, place) / ty, -dot(f, place) * a + b, -dot(f, place)];
    return new Float32Array([0, 1, 2].flatMap((i) => rows.map((row) => row[i])).concat(last));
  };
  const attributes = (place, color, stride, offset) => {
    gl.bindBuffer(gl.ARRAY_BUFFER, place);
    gl.enableVertexAttribArray(0);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, stride, 0);
    gl.vertexAttribPointer(1, 4, gl.UNSIGNED_BYTE, true, color, offset);
  };
  const draw = () => {
    requestAnimationFrame(draw);
    const ratio = Math.min(devicePixelRatio || 1, 2), w = Math.round(innerWidth * ratio), h = Math.round(innerHeight * ratio);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; stale = true; }
    const off = add(aim, centre, -1);
    if (Math.hypot(...off) > 0.01 * scale) { centre = add(centre, off, 0.08); stale = true; }
    if (!stale) return;
    stale = false;
    const back = [Math.sin(eye.yaw) * Math.cos(eye.pitch), -Math.sin(eye.pitch), -Math.cos(eye.yaw) * Math.cos(eye.pitch)];
    const place = add(centre, back, eye.far * scale), f = unit(add(centre, place, -1));
    const r = unit(cross([0, 1, 0], f)), d = cross(f, r), ty = 0.42, tx = (ty * w) / h;
    const matrix = clip(place, r, d, f, tx, ty, 0.02 * scale, 60 * scale);
    gl.viewport(0, 0, w, h);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    gl.useProgram(dots);
    gl.uniformMatrix4fv(gl.getUniformLocation(dots, "clip"), false, matrix);
    gl.uniform1f(gl.getUniformLocation(dots, "size"), (0.0098 * scale * h) / (2 * ty));
    attributes(points, 16, 16, 12);
    if (filled) gl.drawArrays(gl.POINTS, 0, filled);
    const [places, colors] = strokes();
    gl.bindBuffer(gl.ARRAY_BUFFER, path);
    gl.bufferData(gl.ARRAY_BUFFER, places.byteLength + colors.byteLength, gl.STREAM_DRAW);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, places);
    gl.bufferSubData(gl.ARRAY_BUFFER, places.byteLength, colors);
    attributes(path, 4, 12, places.byteLength);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.useProgram(lines);
    gl.uniformMatrix4fv(gl.getUniformLocation(lines, "clip"), false, matrix);
    gl.drawArrays(gl.LINES, 0, places.length / 3);
  };

  // --- hands ---
  const held = new Map();
  canvas.addEventListener("pointerdown", (e) => { held.set(e.pointerId, [e.clientX, e.clientY]); canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", (e) => {
    if (!held.has(e.pointerId)) return;
    const before = held.get(e.pointerId), other = [...held].find(([id]) => id !== e.pointerId);
    held.set(e.pointerId, [e.clientX, e.clientY]);
    stale = true;
    if (other) {
      const gap = (p) => Math.hypot(p[0] - other[1][0], p[1] - other[1][1]);
      eye.far = Math.min(Math.max((eye.far * gap(before)) / Math.max(gap([e.clientX, e.clientY]), 1), 0.2), 30);
    } else {
      eye.yaw += (e.clientX - before[0]) * 0.006;
      eye.pitch = Math.min(Math.max(eye.pitch + (e.clientY - before[1]) * 0.006, -1.4), 1.5);
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (e) => held.delete(e.pointerId));
  canvas.addEventListener("wheel", (e) => { e.preventDefault(); stale = true; eye.far = Math.min(Math.max(eye.far * Math.exp(e.deltaY * 0.001), 0.2), 30); }, { passive: false });
  canvas.addEventListener("dblclick", () => { eye = { ...rest }; stale = true; });
  const keys = { ArrowLeft: [-0.08, 0], ArrowRight: [0.08, 0], ArrowUp: [0, 0.08], ArrowDown: [0, -0.08] };
  canvas.addEventListener("keydown", (e) => {
    if (!keys[e.key]) return;
    eye.yaw += keys[e.key][0];
    eye.pitch = Math.min(Math.max(eye.pitch + keys[e.key][1], -1.4), 1.5);
    stale = true;
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { stale = true; });
  if (gl) requestAnimationFrame(draw);
  return { grow, see, clear, get points() { return filled; }, get cameras() { return cameras.length; } };
})();
