// SPDX-License-Identifier: Apache-2.0
// The camera page: the camera's newest picture to the service, its answer to the screen. docs/serve.md has the messages.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const SIDE = 480, FLIGHT = 2, QUALITY = 0.85; // longer side that is sent, pictures on their way, JPEG quality
  let token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
  let socket = null, stream = null, facing = "environment", take = "", live = false, index = 0, tries = 0;
  let flying = [], coded = [], answer = 0; // numbers of pictures on their way, of those in the encoder; when one came back
  let began = 0, walked = 0, last = null, arrivals = [], sent = [];
  let encoder = null, key = true, faults = 0; // H.264: its encoder, whether a key picture is due, what went wrong
  const sketch = document.createElement("canvas");
  at("ask").hidden = Boolean(token);
  history.replaceState(null, "", location.pathname); // so that nobody reads the token over a shoulder

  const say = (state, text) => { at("status").dataset.state = state; at("status").textContent = text; };
  const complain = (text) => { at("note").textContent = text; at("note").classList.add("wrong"); };

  const openCamera = async () => {
    if (!navigator.mediaDevices) throw new Error("the browser gives its camera only to https pages and to this machine's own");
    for (const track of stream ? stream.getTracks() : []) track.stop();
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false, video: { facingMode: facing, width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } },
    });
    at("camera").srcObject = stream;
    await at("camera").play();
    const devices = await navigator.mediaDevices.enumerateDevices();
    at("flip").hidden = devices.filter((device) => device.kind === "videoinput").length < 2;
  };

  const connect = () => {
    say("wait", "connecting");
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/stream`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify({ token, want: ["picture", "ply"], resume: take, most_points: 2500, keep_percentile: 60 }));
    socket.onmessage = (event) => (typeof event.data === "string" ? told(JSON.parse(event.data)) : answered(event.data));
    socket.onclose = (event) => {
      socket = null;
      if (!live) return;
      if (event.code === 4401) { token = ""; at("ask").hidden = false; end(); return complain(event.reason || "The token is wrong."); }
      if ([4400, 4409, 4500].includes(event.code) && take) take = "";
      if (event.code === 4409 || (event.code === 4400 && tries > 3)) { end(); return complain(event.reason); }
      say("lost", event.reason || "connection lost, trying again");
      setTimeout(() => live && connect(), Math.min(500 * 2 ** tries++, 8000));
    };
  };
  // What the service leaves out for a newer picture gets no answer: it has landed when a later one has.
  const landed = (number) => { flying = flying.filter((each) => each > number); };
  const told = (said) => {
    if (said.type === "welcome") {
      if (!said.frames && index) forget();
      take = said.id; tries = 0; flying = [];
      key = true; // a new connection has a new decoder
      say("live", "live");
      send();
    }
    if (said.type === "error") {
      landed(said.index ?? flying[0]);
      if (String(said.name).startsWith("h264")) { key = true; if (++faults > 3) jpegs(); }
      send();
    }
  };

  // H.264 where the browser can write it and nobody objects: a frame is then a fraction of a JPEG.
  const H264 = { codec: "avc1.42E01F", avc: { format: "annexb" }, latencyMode: "realtime", framerate: 15, bitrate: 1.2e6 };
  const offer = async () => {
    let can = false;
    try { can = (await VideoEncoder.isConfigSupported({ ...H264, width: SIDE, height: 360 })).supported; } catch { /* it has none */ }
    at("video").checked = can;
    at("offer").hidden = !can;
  };
  const jpegs = () => { // for the rest of this visit
    if (encoder && encoder.state !== "closed") encoder.close();
    encoder = null;
    flying = flying.filter((each) => !coded.includes(each)); // it keeps what it holds
    coded = [];
    at("video").checked = false;
  };
  const prepare = (width, height) => {
    if (encoder && encoder.state === "configured" && encoder.sides === `${width} ${height}`) return;
    if (encoder && encoder.state !== "closed") encoder.close();
    coded = [];
    encoder = new VideoEncoder({
      output: (chunk) => {
        const message = new Uint8Array(16 + chunk.byteLength);
        chunk.copyTo(message.subarray(16));
        post(message.buffer, chunk.byteLength, chunk.timestamp, coded.shift());
      },
      error: () => { jpegs(); send(); },
    });
    encoder.configure({ ...H264, width, height });
    encoder.sides = `${width} ${height}`;
    key = true;
  };
  const post = (buffer, bytes, microseconds, number) => {
    if (!socket || socket.readyState !== 1) { flying = []; key = true; return; }
    const head = new DataView(buffer);
    [..."LTF1"].forEach((letter, i) => head.setUint8(i, letter.charCodeAt(0)));
    head.setUint32(4, number, true);
    head.setFloat64(8, microseconds / 1e6, true);
    sent = sent.slice(-29).concat(bytes);
    socket.send(buffer);
  };
  setInterval(() => { // a picture that got lost, or an encoder or a decoder that holds pictures back, would be waited for for ever
    if (!live || !flying.length || performance.now() - answer < 5000) return;
    flying = [];
    key = true;
    if (encoder && ++faults > 3) jpegs();
    send();
  }, 1000);

  const send = () => {
    const video = at("camera");
    if (!live || !socket || socket.readyState !== 1 || !take || flying.length >= FLIGHT || socket.bufferedAmount > 1e6) return;
    if (!video.videoWidth) { setTimeout(send, 50); return; }
    if (!flying.length) answer = performance.now();
    const number = index++;
    flying.push(number);
    const share = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
    [sketch.width, sketch.height] = [video.videoWidth, video.videoHeight].map((side) => 2 * Math.round((side * share) / 2));
    sketch.getContext("2d").drawImage(video, 0, 0, sketch.width, sketch.height);
    const moment = Math.round(1000 * (performance.now() - began));
    if (at("video").checked) {
      try {
        prepare(sketch.width, sketch.height);
        const frame = new VideoFrame(sketch, { timestamp: moment });
        try { encoder.encode(frame, { keyFrame: key }); } finally { frame.close(); }
        coded.push(number);
        key = false;
        return;
      } catch { jpegs(); } // and this frame goes as the next kind
    }
    sketch.toBlob(async (blob) => {
      if (!blob) { landed(number); return; }
      const message = new Uint8Array(16 + blob.size);
      message.set(new Uint8Array(await blob.arrayBuffer()), 16);
      post(message.buffer, blob.size, moment, number);
    }, "image/jpeg", QUALITY);
  };

  const answered = async (data) => {
    const length = new DataView(data).getUint32(4, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 8, length)));
    landed(header.index);
    if (header.frames % 100 === 0) faults = 0;
    answer = performance.now();
    setTimeout(send, 0);
    const parts = {};
    let from = 8 + length;
    for (const part of header.parts) { parts[part.name] = { ...part, data: data.slice(from, from + part.bytes) }; from += part.bytes; }
    const pose = header.world_from_cam, [width, height] = header.size;
    let middle = 1;
    if (parts.ply) middle = unpack(parts.ply, pose);
    Scene.see(pose, middle, [width / 2 / header.intrinsics[0][0], height / 2 / header.intrinsics[1][1]]);
    const spot = pose.slice(0, 3).map((row) => row[3]);
    if (last) walked += Math.hypot(...spot.map((v, i) => v - last[i]));
    last = spot;
    figures(header);
    if (parts.picture) {
      const picture = await createImageBitmap(new Blob([parts.picture.data], { type: "image/jpeg" }));
      const canvas = at("depth");
      canvas.width = picture.width; canvas.height = picture.height;
      canvas.getContext("2d").drawImage(picture, 0, 0);
    }
  };
  // PLY rows are 19 bytes; a GPU wants 16. Returns the typical depth.
  const unpack = (part, pose) => {
    const view = new DataView(part.data, part.data.byteLength - part.points * part.row_bytes);
    const rows = new ArrayBuffer(16 * part.points), places = new Float32Array(rows), colors = new Uint8Array(rows), depths = [];
    for (let i = 0; i < part.points; i++) {
      const row = i * part.row_bytes;
      let depth = 0;
      for (let k = 0; k < 3; k++) {
        const value = view.getFloat32(row + 4 * k, true);
        places[4 * i + k] = value;
        depth += (value - pose[k][3]) * pose[k][2];
        colors[16 * i + 12 + k] = view.getUint8(row + 12 + k);
      }
      colors[16 * i + 15] = 255;
      depths.push(depth);
    }
    Scene.grow(rows);
    return depths.sort((a, b) => a - b)[depths.length >> 1] || 1;
  };
  const figures = (header) => {
    const now = performance.now();
    arrivals = arrivals.filter((time) => now - time < 3000).concat(now);
    const span = (now - arrivals[0]) / 1000;
    at("rate").textContent = span > 0.3 ? ((arrivals.length - 1) / span).toFixed(1) : "–";
    at("latency").textContent = Math.round(1000 * header.latency);
    at("count").textContent = header.frames.toLocaleString("en");
    at("bytes").textContent = sent.length ? (sent.reduce((a, b) => a + b) / sent.length / 1000).toFixed(1) : "–";
    at("codec").textContent = `kB a frame, ${at("video").checked ? "H.264" : "JPEG"}`;
    at("walked").textContent = walked.toFixed(walked < 10 ? 2 : 1);
    at("unit").textContent = header.is_metric ? "metres walked" : "units walked";
    const words = { ok: ["live", "live"], weak: ["wait", "live, hardly followed"], lost: ["lost", "lost: go back a little"] };
    say(...(words[header.tracking] || words.ok));
  };

  const forget = () => { Scene.clear(); index = walked = 0; last = null; arrivals = []; began = performance.now(); };
  const start = async () => {
    say("wait", "asking for the camera");
    try { await openCamera(); } catch (error) {
      say("idle", "ready");
      return complain(`No camera: ${error.message}.`);
    }
    live = true; take = ""; tries = 0;
    forget();
    at("card").hidden = true;
    for (const id of ["stop", "again", "eyes", "figures"]) at(id).hidden = false;
    connect();
  };
  const end = () => {
    live = false;
    if (socket) socket.close();
    for (const track of stream ? stream.getTracks() : []) track.stop();
    stream = null;
    at("card").hidden = false;
    for (const id of ["stop", "again", "flip", "eyes"]) at(id).hidden = true;
    say("idle", "stopped");
  };
  at("video").addEventListener("change", () => { key = true; });
  offer().finally(() => { at("start").disabled = false; }); // a press before this script was there would be lost
  at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = token || at("token").value.trim();
    if (!token) return complain("Give the token that longtake serve printed.");
    at("note").classList.remove("wrong");
    start();
  });
  at("stop").addEventListener("click", end);
  at("again").addEventListener("click", () => { take = ""; forget(); if (socket) socket.close(); });
  at("flip").addEventListener("click", () => { facing = facing === "user" ? "environment" : "user"; openCamera().catch((e) => say("lost", e.message)); });
})();
