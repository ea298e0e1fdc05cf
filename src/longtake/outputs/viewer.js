// SPDX-License-Identifier: Apache-2.0
// Walk around in the cloud: WebGL 2, nothing else. Points are drawn as discs into a texture with their depth; a second
// pass darkens what lies behind its neighbours (eye-dome lighting); the path and the cameras come on top.
"use strict";
(() => {
  const take = JSON.parse(document.getElementById("take").textContent);
  const box = document.getElementById("viewer");
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: true });
  if (!gl) return; // the still picture stays

  // --- small vector algebra, column-major 4x4 ---
  const sub = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
  const add = (a, b, s = 1) => [a[0] + s * b[0], a[1] + s * b[1], a[2] + s * b[2]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const unit = (a) => { const n = Math.hypot(...a) || 1; return a.map((v) => v / n); };
  // Clip matrix of an eye with right, down, forward axes; tx and ty are tangents of the half angles.
  const clip = (eye, r, d, f, tx, ty, near, far) => {
    const a = (far + near) / (far - near), b = (-2 * far * near) / (far - near);
    const rows = [r.map((v) => v / tx), d.map((v) => -v / ty), f.map((v) => v * a), f];
    const last = [-dot(r, eye) / tx, dot(d, eye) / ty, -dot(f, eye) * a + b, -dot(f, eye)];
    return new Float32Array([0, 1, 2].flatMap((i) => rows.map((row) => row[i])).concat(last));
  };

  // --- programs ---
  const program = (vertex, fragment) => {
    const made = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, "#version 300 es\nprecision highp float;\n" + text);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(made, shader);
    }
    gl.linkProgram(made);
    return new Proxy({}, { get: (_, name) => name === "id" ? made : name[0] === "$" ? gl.getAttribLocation(made, name.slice(1)) : gl.getUniformLocation(made, name) });
  };
  const cloud = program(
    `in vec3 place; in vec3 normal; in vec3 color; out vec3 paint;
     uniform mat4 clip; uniform vec3 low, span, eye; uniform float size, cut, limit;
     void main() {
       vec3 p = low + place * span, away = eye - p;
       float facing = dot(normal, away) / max(length(away), 1e-9);
       gl_Position = facing < 0.02 && cut > 0.5 ? vec4(2., 2., 2., 1.) : clip * vec4(p, 1.);
       gl_PointSize = clamp(size / gl_Position.w, 1.5, limit);
       paint = color * (0.82 + 0.18 * clamp(facing, 0., 1.));
     }`,
    `in vec3 paint; out vec4 result;
     void main() { vec2 q = gl_PointCoord - 0.5; if (dot(q, q) > 0.25) discard; result = vec4(paint, 1.); }`);
  const shade = program(
    `void main() { vec2 p = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4. - 1.; gl_Position = vec4(p, 0., 1.); }`,
    `uniform sampler2D picture, depth; uniform vec2 range; uniform int reach; out vec4 result;
     float away(ivec2 p) {
       p = clamp(p, ivec2(0), textureSize(depth, 0) - 1);
       float z = texelFetch(depth, p, 0).r * 2. - 1.;
       return z >= 1. ? 1e9 : log2(2. * range.x * range.y / (range.y + range.x - z * (range.y - range.x)));
     }
     void main() {
       ivec2 p = ivec2(gl_FragCoord.xy);
       float here = away(p), sunk = 0.;
       if (here > 1e8) { result = vec4(0.); return; }
       for (int y = -1; y <= 1; y++) for (int x = -1; x <= 1; x++) sunk += clamp(here - away(p + ivec2(x, y) * reach), 0., 0.05);
       result = vec4(texelFetch(picture, p, 0).rgb * max(exp(-7. * sunk), 0.45), 1.);
     }`);
  const line = program(
    `in vec3 a, b; in vec4 color; in vec2 corner; out vec4 paint; out float across;
     uniform mat4 clip; uniform vec2 view; uniform float width;
     void main() {
       vec4 p = clip * vec4(a, 1.), q = clip * vec4(b, 1.), here = corner.x < 0.5 ? p : q;
       vec2 along = (q.xy / q.w - p.xy / p.w) * view; along = length(along) > 1e-6 ? normalize(along) : vec2(1., 0.);
       float out_of_sight = min(p.w, q.w) <= 0. ? 3. : 0.;
       vec2 move = (vec2(-along.y, along.x) * corner.y + along * (corner.x - 0.5) * 0.6) * width;
       gl_Position = vec4(here.xy + move / view * 2. * here.w, 0., here.w) + vec4(out_of_sight * here.w);
       across = corner.y; paint = color;
     }`,
    `in vec4 paint; in float across; uniform float width; out vec4 result;
     void main() { float a = paint.a * clamp((1. - abs(across)) * width, 0., 1.); result = vec4(paint.rgb * a, a); }`);

  // --- points: all of them, and one of every few, for browsers that are slow to draw ---
  const raw = Uint8Array.from(atob(take.points), (c) => c.charCodeAt(0)), pointBuffer = gl.createBuffer(), EVERY = 8;
  gl.bindBuffer(gl.ARRAY_BUFFER, pointBuffer);
  gl.bufferData(gl.ARRAY_BUFFER, raw, gl.STATIC_DRAW);
  const [all, few] = [1, EVERY].map((every) => {
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, pointBuffer);
    for (const [name, kind, offset] of [["$place", gl.UNSIGNED_SHORT, 0], ["$normal", gl.BYTE, 6], ["$color", gl.UNSIGNED_BYTE, 9]]) {
      gl.enableVertexAttribArray(cloud[name]);
      gl.vertexAttribPointer(cloud[name], 3, kind, true, 12 * every, offset);
    }
    return { array, every };
  });

  // --- lines: two triangles a segment, instanced ---
  const segments = (list) => { // list of [a, b, rgba]
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([0, -1, 0, 1, 1, -1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(line.$corner);
    gl.vertexAttribPointer(line.$corner, 2, gl.FLOAT, false, 8, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(list.flat(2)), gl.STATIC_DRAW);
    for (const [name, size, offset] of [["$a", 3, 0], ["$b", 3, 12], ["$color", 4, 24]]) {
      gl.enableVertexAttribArray(line[name]);
      gl.vertexAttribPointer(line[name], size, gl.FLOAT, false, 40, offset);
      gl.vertexAttribDivisor(line[name], 1);
    }
    return { array, count: list.length };
  };
  const centres = take.poses.map((m) => [m[3], m[7], m[11]]);
  const column = (m, i) => [m[i], m[4 + i], m[8 + i]];
  const rgba = (i, a) => [...take.colors[i].map((v) => v / 255), a];
  const reach = Math.hypot(...take.span);
  const corners = (m) => {
    const [x, y, z, s] = [column(m, 0), column(m, 1), column(m, 2), 0.035 * reach];
    return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([u, v]) => {
      const p = add(add(z, x, u * take.field[0]), y, v * take.field[1]);
      return add([m[3], m[7], m[11]], p, s);
    });
  };
  const frustum = (i, alpha) => {
    const c = corners(take.poses[i]), o = centres[i];
    return c.flatMap((p, k) => [[p, c[(k + 1) % 4], rgba(i, alpha)], [o, p, rgba(i, alpha)]]);
  };
  const path = segments(centres.slice(1).map((p, i) => [centres[i], p, rgba(i, 1)]));
  const casing = segments(centres.slice(1).map((p, i) => [centres[i], p, [1, 1, 1, 0.85]]));
  const many = Math.min(10, centres.length);
  const marks = [...Array(many).keys()].map((k) => Math.round((k * (centres.length - 1)) / Math.max(many - 1, 1)));
  const frusta = segments(marks.flatMap((i) => frustum(i, 0.9)));
  let moving = null, movingAt = -1;

  // --- the page's controls ---
  box.replaceChildren(canvas);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Interactive point cloud. Arrow keys turn, plus and minus zoom.");
  const bar = document.createElement("div");
  bar.className = "controls";
  bar.innerHTML = `<button type="button" id="play">Play</button>
    <label class="time"><span>Time</span><input id="time" type="range" min="0" max="1000" value="1000" aria-label="Time in the take"></label>
    <label><input id="lens" type="checkbox"> Through the camera</label>
    <label><input id="cut" type="checkbox" checked> Look through walls</label>
    <label>Point size <input id="size" type="range" min="30" max="250" value="100" aria-label="Point size"></label>`;
  box.append(bar);
  const control = Object.fromEntries(["play", "time", "lens", "cut", "size"].map((id) => [id, document.getElementById(id)]));

  // --- the eye ---
  const middle = add(take.low, take.span, 0.5);
  const half = Math.tan((14 * Math.PI) / 180);
  const axes = (azimuth, height) => {
    const [a, e] = [azimuth, height].map((v) => (v * Math.PI) / 180);
    const f = [-Math.cos(a) * Math.cos(e), -Math.sin(a) * Math.cos(e), -Math.sin(e)], r = [-Math.sin(a), Math.cos(a), 0];
    return { r, d: cross(f, r), f };
  };
  const places = [...centres]; // and a few thousand points: what the first view has to hold
  const grid = new Uint16Array(raw.buffer, 0, raw.byteLength >> 1), total = raw.byteLength / 12;
  for (let i = 0; i < total; i += Math.max(1, total >> 12)) {
    places.push([0, 1, 2].map((k) => take.low[k] + (grid[6 * i + k] / 65535) * take.span[k]));
  }
  const start = (aspect) => { // as close as the whole scene allows; the middle of the picture settles in a few rounds
    const orbit = { target: [...middle], azimuth: -62, height: 34, distance: reach * 1.9 };
    const { r, d, f } = axes(orbit.azimuth, orbit.height), halves = [half * aspect * 0.94, half * 0.94];
    for (let round = 0; round < 4; round++) {
      const seen = places.map((p) => { const q = sub(p, orbit.target); return [dot(q, r), dot(q, d), dot(q, f)]; });
      orbit.distance = seen.reduce((far, [x, y, z]) => Math.max(far, Math.abs(x) / halves[0] - z, Math.abs(y) / halves[1] - z), reach * 0.05);
      const [x, y] = [0, 1].map((k) => {
        const spots = seen.map((p) => p[k] / (p[2] + orbit.distance));
        return (orbit.distance * (spots.reduce((a, b) => Math.max(a, b)) + spots.reduce((a, b) => Math.min(a, b)))) / 2;
      });
      if (round < 3) orbit.target = add(add(orbit.target, r, x), d, y);
    }
    return orbit;
  };
  let orbit = start(1.6), touched = false, due = false, playing = 0;
  const eyeNow = (aspect) => {
    if (control.lens.checked) {
      const m = take.poses[indexNow()];
      const grow = Math.max(take.field[0] / aspect, take.field[1]) * 1.15;
      return { at: [m[3], m[7], m[11]], r: column(m, 0), d: column(m, 1), f: column(m, 2), tx: grow * aspect, ty: grow, near: reach / 400 };
    }
    const { r, d, f } = axes(orbit.azimuth, orbit.height);
    return { at: add(orbit.target, f, -orbit.distance), r, d, f, tx: half * aspect, ty: half, near: Math.max(orbit.distance - 2 * reach, reach / 200) };
  };
  const indexNow = () => Math.round((control.time.value / 1000) * (centres.length - 1));

  // --- drawing ---
  let frame = null, picture = null, depth = null;
  const resize = () => {
    const scale = Math.min(window.devicePixelRatio || 1, 2);
    const w = Math.max(2, Math.round(canvas.clientWidth * scale)), h = Math.max(2, Math.round(canvas.clientHeight * scale));
    if (frame && canvas.width === w && canvas.height === h) return;
    [canvas.width, canvas.height] = [w, h];
    for (const texture of [picture, depth]) if (texture) gl.deleteTexture(texture);
    frame ??= gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    const texture = (inner, format, type, place) => {
      const made = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, made);
      gl.texImage2D(gl.TEXTURE_2D, 0, inner, w, h, 0, format, type, null);
      for (const key of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, key, gl.NEAREST);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, place, gl.TEXTURE_2D, made, 0);
      return made;
    };
    picture = texture(gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, gl.COLOR_ATTACHMENT0);
    depth = texture(gl.DEPTH_COMPONENT24, gl.DEPTH_COMPONENT, gl.UNSIGNED_INT, gl.DEPTH_ATTACHMENT);
  };
  // Where three pictures in a row kept the browser busy for too long, few points are drawn while something moves.
  let late = 0, rest = 0;
  const pace = (now) => {
    if (late < 3) {
      requestAnimationFrame((next) => { if (late < 3) late = next - now > 80 && next - now < 2000 ? late + 1 : 0; });
      return all;
    }
    clearTimeout(rest);
    rest = setTimeout(() => requestAnimationFrame(() => draw(0)), 300);
    return few;
  };
  const draw = (now) => { // now: when, in milliseconds; 0 for the picture at rest
    due = false;
    const points = now ? pace(now) : all;
    resize();
    const w = canvas.width, h = canvas.height, pixel = w / Math.max(canvas.clientWidth, 1);
    if (!touched) orbit = start(w / h);
    const eye = eyeNow(w / h), far = eye.near + 6 * reach + orbit.distance;
    const matrix = clip(eye.at, eye.r, eye.d, eye.f, eye.tx, eye.ty, eye.near, far);
    gl.viewport(0, 0, w, h);
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    gl.disable(gl.BLEND);
    gl.enable(gl.DEPTH_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.useProgram(cloud.id);
    gl.uniformMatrix4fv(cloud.clip, false, matrix);
    gl.uniform3fv(cloud.low, take.low);
    gl.uniform3fv(cloud.span, take.span);
    gl.uniform3fv(cloud.eye, eye.at);
    gl.uniform1f(cloud.size, (take.radius * 2.4 * Math.sqrt(points.every) * control.size.value / 100) * h / 2 / eye.ty);
    gl.uniform1f(cloud.limit, (control.lens.checked ? 30 : 16) * pixel);
    gl.uniform1f(cloud.cut, control.cut.checked && !control.lens.checked ? 1 : 0);
    gl.bindVertexArray(points.array);
    const step = (control.time.value / 1000) * (take.shown.length - 1);
    gl.drawArrays(gl.POINTS, 0, Math.ceil(take.shown[Math.round(step)] / points.every));

    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.disable(gl.DEPTH_TEST);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.useProgram(shade.id);
    for (const [i, texture, name] of [[0, picture, "picture"], [1, depth, "depth"]]) {
      gl.activeTexture(gl.TEXTURE0 + i);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.uniform1i(shade[name], i);
    }
    gl.uniform2f(shade.range, eye.near, far);
    gl.uniform1i(shade.reach, Math.max(1, Math.round(pixel)));
    gl.bindVertexArray(null);
    gl.drawArrays(gl.TRIANGLES, 0, 3);

    if (control.lens.checked) return;
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.useProgram(line.id);
    gl.uniformMatrix4fv(line.clip, false, matrix);
    gl.uniform2f(line.view, w, h);
    const at = indexNow(), live = at < centres.length - 1;
    if (movingAt !== at) [moving, movingAt] = [segments(frustum(at, 1)), at];
    const before = marks.filter((i) => i <= at).length * 8;
    for (const [set, count, width] of [[frusta, before, 0.9], [casing, at, 2.6], [path, at, 1.5], [moving, live ? 8 : 0, 1.6]]) {
      gl.uniform1f(line.width, width * pixel);
      gl.bindVertexArray(set.array);
      if (count > 0) gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, Math.min(count, set.count));
    }
  };
  const redraw = () => { if (!due) { due = true; requestAnimationFrame(draw); } };

  // --- hands ---
  const pointers = new Map();
  const pan = (dx, dy) => {
    const eye = eyeNow(canvas.width / canvas.height), s = (2 * orbit.distance * half) / canvas.clientHeight;
    orbit.target = add(add(orbit.target, eye.r, -dx * s), eye.d, -dy * s);
  };
  const zoom = (factor) => { orbit.distance = Math.min(Math.max(orbit.distance * factor, reach * 0.05), reach * 8); };
  const turn = (dx, dy) => { orbit.azimuth -= dx * 0.35; orbit.height = Math.min(89, Math.max(-89, orbit.height + dy * 0.35)); };
  canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); pointers.set(e.pointerId, [e.clientX, e.clientY]); });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (e) => pointers.delete(e.pointerId));
  canvas.addEventListener("pointermove", (e) => {
    const old = pointers.get(e.pointerId);
    if (!old) return;
    const now = [e.clientX, e.clientY], dx = now[0] - old[0], dy = now[1] - old[1];
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== e.pointerId)[1];
      zoom(Math.hypot(old[0] - other[0], old[1] - other[1]) / Math.max(Math.hypot(now[0] - other[0], now[1] - other[1]), 1));
      pan(dx / 2, dy / 2);
    } else if (e.shiftKey || e.buttons & 6) pan(dx, dy);
    else turn(dx, dy);
    pointers.set(e.pointerId, now);
    control.lens.checked = false;
    touched = true;
    redraw();
  });
  canvas.addEventListener("wheel", (e) => { // the page scrolls until the cloud was clicked
    if (document.activeElement !== canvas) return;
    e.preventDefault();
    touched = true;
    zoom(Math.exp(Math.sign(e.deltaY) * Math.min(Math.abs(e.deltaY), 60) * 0.003));
    redraw();
  }, { passive: false });
  canvas.addEventListener("contextmenu", (e) => e.preventDefault());
  canvas.addEventListener("dblclick", () => { touched = control.lens.checked = false; redraw(); });
  canvas.addEventListener("keydown", (e) => {
    const act = { ArrowLeft: () => turn(-12, 0), ArrowRight: () => turn(12, 0), ArrowUp: () => turn(0, 12), ArrowDown: () => turn(0, -12), "+": () => zoom(0.9), "=": () => zoom(0.9), "-": () => zoom(1.1) }[e.key];
    if (act) { e.preventDefault(); touched = true; act(); redraw(); }
  });
  for (const input of [control.time, control.lens, control.cut, control.size]) input.addEventListener("input", redraw);
  // The plots have the same moment: each tells the other the number of its frame.
  const tell = () => document.dispatchEvent(new CustomEvent("longtake-viewer", { detail: take.numbers[indexNow()] }));
  control.time.addEventListener("input", tell);
  document.addEventListener("longtake-plots", (e) => {
    const after = take.numbers.findIndex((number) => number >= e.detail);
    stop();
    control.time.value = ((after < 0 ? centres.length - 1 : after) / Math.max(centres.length - 1, 1)) * 1000;
    redraw();
  });
  const seconds = Math.min(Math.max(centres.length / 20, 6), 25);
  const tick = (now) => {
    if (!playing) return;
    const next = Number(control.time.value) + ((now - playing) / 1000 / seconds) * 1000;
    playing = now;
    control.time.value = Math.min(next, 1000);
    if (next >= 1000) stop();
    draw(now);
    tell();
    requestAnimationFrame(tick);
  };
  const stop = () => { playing = 0; control.play.textContent = "Play"; };
  control.time.step = "any";
  control.play.addEventListener("click", () => {
    if (playing) return stop();
    if (control.time.value >= 1000) control.time.value = 0;
    playing = performance.now();
    control.play.textContent = "Pause";
    requestAnimationFrame(tick);
  });
  new ResizeObserver(redraw).observe(canvas);
  redraw();
})();
