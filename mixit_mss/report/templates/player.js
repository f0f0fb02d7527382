"use strict";
// Players that keep every track of a song in step: all are started at one moment of one clock, and
// what is heard is a matter of gains.  Without Web Audio the browser's own controls stay.
const QUIET_DB = -60;
let context = null;
let playing = null; // one player at a time

class Player {
  constructor(element) {
    this.element = element;
    this.duration = Number(element.dataset.seconds);
    this.at = 0; // seconds, while it rests
    this.started = 0; // the clock's time at which position 0 was, while it plays
    this.tracks = null;
    this.sources = [];
    this.find = (name) => element.querySelector(name);
    this.rows = [...element.querySelectorAll(".track")];
    this.versions = [...element.querySelectorAll(".versions input")];
    this.estimate = String(this.versions.length - 1); // the one beside the true stems
    for (const audio of element.querySelectorAll("audio")) audio.hidden = true;
    for (const name of [".bar", ".versions"]) this.find(name).hidden = false;
    this.press(this.rows[0].querySelector(".mute"), true); // the stems add up to the mixture
    element.classList.add("ready");
    this.listen();
    this.update();
  }

  listen() {
    this.find(".play").addEventListener("click", () => this.toggle());
    this.find(".seek").addEventListener("input", (event) => this.seek(Number(event.target.value)));
    this.find(".loop input").addEventListener("change", () => {
      if (playing === this) this.start(this.position());
    });
    for (const radio of this.versions) radio.addEventListener("change", () => this.update());
    for (const row of this.rows) {
      for (const name of [".solo", ".mute"]) {
        const button = row.querySelector(name);
        button.addEventListener("click", () => this.press(button, !isPressed(button)));
      }
      for (const strip of row.querySelectorAll(".strip")) {
        strip.addEventListener("click", (event) => {
          const box = strip.getBoundingClientRect();
          if (strip.dataset.version) this.choose(Number(strip.dataset.version));
          this.seek(((event.clientX - box.left) / box.width) * this.duration);
        });
      }
    }
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const key = event.key.toLowerCase();
    if (key === "p") this.toggle();
    else if (key === "v") this.choose((this.version() === 0) * Number(this.estimate));
    else if (key === "0") this.rows.forEach((row) => this.press(row.querySelector(".solo"), false));
    else if (this.rows[Number(key) - 1]) {
      const button = this.rows[Number(key) - 1].querySelector(".solo");
      this.press(button, !isPressed(button));
    } else return;
    event.preventDefault();
  }

  version() {
    return this.versions.findIndex((radio) => radio.checked);
  }

  choose(version) {
    this.versions[version].checked = true;
    this.update();
  }

  press(button, on) {
    button.setAttribute("aria-pressed", String(on));
    this.update();
  }

  // Who is heard: solos before mutes; of a stem only the chosen version.
  isHeard(row, version) {
    const solos = this.rows.some((other) => isPressed(other.querySelector(".solo")));
    const on = isPressed(row.querySelector(solos ? ".solo" : ".mute")) === solos;
    return on && (version === "" || Number(version) === this.version());
  }

  update() {
    if (this.version() > 0) this.estimate = String(this.version());
    for (const row of this.rows) {
      for (const strip of row.querySelectorAll(".strip")) {
        const version = strip.dataset.version;
        strip.hidden = !["", "0", this.estimate].includes(version);
        strip.classList.toggle("heard", this.isHeard(row, version));
      }
    }
    for (const track of this.tracks || []) {
      const gain = this.isHeard(track.row, track.version) ? 1 : 0;
      track.gain.gain.setTargetAtTime(gain, context.currentTime, 0.008);
    }
  }

  async load() {
    context = context || new AudioContext();
    if (context.state !== "running") await context.resume();
    if (this.tracks) return;
    const audios = [...this.element.querySelectorAll("audio")];
    const buffers = await Promise.all(audios.map((audio) => context.decodeAudioData(bytesOf(audio.src))));
    const meters = new Map();
    this.tracks = audios.map((audio, index) => {
      const row = audio.closest(".track");
      if (!meters.has(row)) {
        meters.set(row, context.createAnalyser());
        meters.get(row).connect(context.destination);
      }
      const gain = context.createGain();
      gain.gain.value = 0;
      gain.connect(meters.get(row));
      return { row, gain, buffer: buffers[index], version: audio.closest(".strip").dataset.version };
    });
    this.meters = meters;
    this.update();
  }

  async toggle() {
    if (playing === this) return this.pause();
    this.element.classList.add("loading");
    try {
      await this.load();
      this.start(this.at);
    } catch (error) {
      this.find(".problem").textContent = `This browser cannot play the excerpts (${error.message}).`;
      this.find(".problem").hidden = false;
    }
    this.element.classList.remove("loading");
  }

  start(at) {
    if (playing) playing.pause();
    const loop = this.find(".loop input").checked;
    const when = context.currentTime + 0.05; // one moment for all, soon enough not to be noticed
    this.sources = this.tracks.map((track) => {
      const source = context.createBufferSource();
      Object.assign(source, { buffer: track.buffer, loop, loopEnd: this.duration });
      source.connect(track.gain);
      source.start(when, at);
      return source;
    });
    this.started = when - at;
    this.loop = loop;
    playing = this;
    this.show();
    requestAnimationFrame(() => this.tick());
  }

  pause() {
    this.at = this.position() % this.duration;
    for (const source of this.sources) source.stop();
    playing = null;
    this.show();
  }

  seek(at) {
    this.at = Math.min(Math.max(at, 0), this.duration - 0.01);
    if (playing === this) this.start(this.at);
    this.move();
  }

  position() {
    if (playing !== this) return this.at;
    const passed = Math.max(context.currentTime - this.started, 0);
    return this.loop ? passed % this.duration : Math.min(passed, this.duration);
  }

  tick() {
    if (playing !== this) return;
    if (!this.loop && this.position() >= this.duration) {
      this.pause();
      return;
    }
    this.move();
    for (const [row, meter] of this.meters) setLevel(row, levelOf(meter));
    requestAnimationFrame(() => this.tick());
  }

  move() {
    const at = this.position();
    this.find(".seek").value = at;
    this.find(".time").textContent = `${at.toFixed(1)} / ${this.duration.toFixed(1)} s`;
    this.element.style.setProperty("--at", at / this.duration);
  }

  show() {
    const on = playing === this;
    const button = this.find(".play");
    this.element.classList.toggle("playing", on);
    button.setAttribute("aria-label", button.ariaLabel.replace(/^\w+/, on ? "Pause" : "Play"));
    if (!on) this.rows.forEach((row) => setLevel(row, QUIET_DB));
    this.move();
  }
}

const isPressed = (button) => button.getAttribute("aria-pressed") === "true";

function bytesOf(uri) {
  return Uint8Array.from(atob(uri.slice(uri.indexOf(",") + 1)), (letter) => letter.charCodeAt(0)).buffer;
}

function levelOf(meter) {
  const samples = new Float32Array(meter.fftSize);
  meter.getFloatTimeDomainData(samples);
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  return Math.max(10 * Math.log10(power + 1e-12), QUIET_DB);
}

function setLevel(row, level) {
  row.querySelector(".level").style.setProperty("--level", (1 - level / QUIET_DB).toFixed(3));
}

if (window.AudioContext) document.querySelectorAll(".player").forEach((element) => new Player(element));
