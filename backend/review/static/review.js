"use strict";
// What the script adds to a page: live figures, keys, flags without a reload, flicker and slider.
document.documentElement.classList.add("has-script");

const all = (selector) => [...document.querySelectorAll(selector)];
const typing = (target) => target.closest("input:not([type=checkbox]):not([type=radio]), select, textarea") !== null;

const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function localTimes(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (isNaN(at)) continue;
    time.title = time.dateTime;
    time.textContent = local.format(at);
  }
}

function live(tiles) {
  const put = (name, text) => { const at = tiles.querySelector(`[data-live=${name}]`); if (at.textContent !== text) at.textContent = text; };
  let known = null;
  const events = new EventSource(tiles.dataset.events);
  events.addEventListener("status", (event) => {
    const now = JSON.parse(event.data);
    const decided = JSON.stringify([now.served, now.verdict && [now.verdict.version, now.verdict.at]]);
    if (known !== null && decided !== known) renew("decided");
    known = decided;
    put("served", now.served.version);
    put("since", now.served.since ? `since ${local.format(new Date(now.served.since))}, by decision ${now.served.number}` : "the base model; no version was promoted yet");
    put("why", now.served.reason || "");
    put("decided", now.served.decided === now.served.version ? "" : `${now.served.decided} was chosen and is loading`);
    put("phase", now.phase === "training" && now.stage ? now.stage : now.phase);
    put("left", now.phase !== "training" || now.share === null ? "" : `${Math.floor(100 * now.share)} %${now.left_s === null ? "" : `, ${span(now.left_s)} left`}`);
    drawLosses(document.getElementById("losses"), now.phase === "training" ? now.losses : {});
    put("queued", String(now.queue.queued));
    put("error", now.error || "");
    put("progress", now.said);
    const { changed, train_after } = now.automatic;
    put("automatic", train_after ? `${changed} of ${train_after} until the next training` : "trains only when you start it");
    put("cancelled", now.cancelled ? `cancelled ${local.format(new Date(now.cancelled))}` : "");
    put("no-worker", now.queue.workers ? "" : "no worker runs; start one: samloop worker");
    put("no-refresher", now.refresh.workers ? "" : "no worker for refreshes runs; start one: samloop worker --refresh");
    tiles.querySelector("[data-live=training-end]").hidden = now.phase === "idle" || now.phase === "failed";
    const share = now.share;
    const bar = tiles.querySelector("[data-live=bar]");
    bar.hidden = share === null || now.phase !== "training";
    bar.value = share || 0;
    refreshing(tiles, now.refresh, put);
  });
  addEventListener("pagehide", () => events.close());
}

// As backend.work.progress.time_words.
function span(seconds) {
  if (seconds < 90) return `${Math.round(Math.max(seconds, 0))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function drawn(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

const WIDE = 300, TALL = 96, EDGE = 14;

function drawLosses(place, curves) {
  const told = JSON.stringify(curves);
  if (place.dataset.told === told) return;
  place.dataset.told = told;
  place.replaceChildren(...Object.entries(curves).filter(([, points]) => points.length > 1).map(([name, points]) => lossCurve(name, points)));
}

function lossCurve(name, points) {
  const losses = points.map(([, loss]) => loss), [first] = points[0], [last, latest] = points[points.length - 1];
  const low = Math.min(...losses), high = Math.max(...losses);
  const x = (step) => ((step - first) / (last - first || 1)) * WIDE;
  const y = (loss) => EDGE + (1 - (loss - low) / (high - low || 1)) * (TALL - 2 * EDGE);
  const title = `Loss, ${name}: ${latest.toPrecision(3)} at step ${last}`;
  const svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, role: "img", "aria-label": title });
  svg.append(
    drawn("path", { class: "line candidate", d: "M" + points.map(([step, loss]) => `${x(step).toFixed(1)} ${y(loss).toFixed(1)}`).join("L") }),
    drawn("text", { x: 0, y: EDGE - 4 }, high.toPrecision(3)),
    drawn("text", { x: 0, y: TALL - 2 }, low.toPrecision(3)),
    drawn("text", { x: WIDE, y: TALL - 2, "text-anchor": "end" }, `step ${last}`),
  );
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  figure.className = "loss";
  caption.textContent = `Loss, ${name}`;
  figure.append(caption, svg);
  return figure;
}

// Replaces a part of the page by what the server shows now.
async function renew(id) {
  const reply = await fetch(location.href);
  if (!reply.ok) return;
  const fresh = new DOMParser().parseFromString(await reply.text(), "text/html").getElementById(id);
  if (!fresh) return;
  localTimes(fresh);
  document.getElementById(id).replaceChildren(...fresh.childNodes);
}

function refreshing(tiles, { phase, progress, last, error }, put) {
  const isBusy = phase !== "idle" && phase !== "failed", { done, total, version } = progress;
  put("refresh", phase);
  put("refresh-error", error || "");
  if (isBusy) put("refresh-told", total ? `${done} of ${total} tasks, ${version}` : "A refresh predicts every untouched task again, with the served version.");
  else if (last) put("refresh-told", last.reason);
  const bar = tiles.querySelector("[data-live=refresh-bar]");
  bar.hidden = !isBusy || !total;
  bar.value = total ? done / total : 0;
  tiles.querySelector("[data-live=refresh-end]").hidden = !isBusy;
}

async function flag(form, button) {
  const body = new URLSearchParams(new FormData(form));
  body.set("verdict", button.value);
  const reply = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
  if (!reply.ok) { form.submit(); return; }
  const told = await reply.json();
  for (const button of form.querySelectorAll("button")) {
    const verdict = button.dataset.verdict;
    const mine = verdict === told.verdict;
    button.setAttribute("aria-pressed", String(mine));
    button.value = mine ? "none" : verdict;
    button.querySelector(".votes").textContent = told.mask[verdict] ? ` ${told.mask[verdict]}` : "";
  }
  for (const [verdict, count] of Object.entries(told.version)) {
    for (const place of all(`[data-count="${verdict}"]`)) place.textContent = String(count);
  }
}

const several = document.getElementById("several");

function countChosen() {
  const boxes = all("[form=several]"), chosen = boxes.filter((box) => box.checked).length;
  document.getElementById("how-many").textContent = `${chosen} chosen`;
  document.getElementById("choose-all").textContent = chosen === boxes.length ? "Choose none" : `Choose all ${boxes.length}`;
}

if (several) {
  document.addEventListener("change", (event) => { if (event.target.matches("[form=several]")) countChosen(); });
  document.getElementById("choose-all").addEventListener("click", () => {
    const boxes = all("[form=several]"), is_on = boxes.some((box) => !box.checked);
    for (const box of boxes) box.checked = is_on;
    countChosen();
  });
  countChosen(); // a browser that goes back remembers what was ticked
}

function step(by) {
  const looks = all(".cards .look");
  const page = document.querySelector(by > 0 ? "a[rel=next]" : "a[rel=prev]");
  if (!looks.length) { if (page) page.click(); return; }
  const card = document.activeElement.closest(".card");
  const at = card ? looks.findIndex((look) => card.contains(look)) : -1;
  const next = looks[Math.min(Math.max(at < 0 ? 0 : at + by, 0), looks.length - 1)];
  next.focus({ preventScroll: true });
  next.closest(".card").scrollIntoView({ block: "nearest" });
}

function flicker(button) {
  const root = document.body.classList;
  const is_on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(is_on));
  clearInterval(flicker.timer);
  root.remove("shows-base", "shows-candidate", "is-flickering");
  if (!is_on) return;
  root.add("is-flickering", "shows-base");
  // Slow enough to be safe for everybody: below three flashes a second (WCAG 2.3.1).
  flicker.timer = setInterval(() => { root.toggle("shows-base"); root.toggle("shows-candidate"); }, 600);
}

// An image in its frame: the wheel zooms around the pointer, dragging moves, the keys zoom in on the worst edge.
const MOST = 16;

class Pan {
  constructor(frame) {
    this.frame = frame;
    this.picture = frame.querySelector(".picture");
    this.worst = (frame.dataset.worst || "0.5 0.5").split(" ").map(Number);
    this.zoom = 1;
    frame.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    frame.addEventListener("pointerdown", (event) => this.grab(event));
  }

  // `at`: a place in the picture, as shares of it; `x`, `y`: where in the frame it is to be, in px.
  to(zoom, at, x = this.frame.clientWidth / 2, y = this.frame.clientHeight / 2) {
    this.zoom = Math.min(Math.max(zoom, 1), MOST);
    this.frame.style.setProperty("--zoom", this.zoom);
    const { clientWidth, clientHeight } = this.picture;
    this.frame.scrollTo(at[0] * clientWidth - x, at[1] * clientHeight - y);
    const image = this.picture.querySelector("img");
    if (image.srcset) image.sizes = `${clientWidth}px`;
  }

  wheel(event) {
    const zoom = Math.min(Math.max(this.zoom * Math.exp(-event.deltaY * 0.002), 1), MOST);
    if (zoom === this.zoom) return; // at either end the page scrolls on
    event.preventDefault();
    const frame = this.frame.getBoundingClientRect(), picture = this.picture.getBoundingClientRect();
    const at = [(event.clientX - picture.left) / picture.width, (event.clientY - picture.top) / picture.height];
    this.to(zoom, at, event.clientX - frame.left, event.clientY - frame.top);
  }

  grab(event) {
    if (event.pointerType !== "mouse" || event.button !== 0) return; // fingers scroll the frame by themselves
    const { frame } = this, { clientX, clientY } = event, { scrollLeft, scrollTop } = frame;
    const move = (moved) => frame.scrollTo(scrollLeft - moved.clientX + clientX, scrollTop - moved.clientY + clientY);
    const end = () => { frame.classList.remove("is-dragged"); frame.removeEventListener("pointermove", move); };
    frame.setPointerCapture(event.pointerId);
    frame.classList.add("is-dragged");
    frame.addEventListener("pointermove", move);
    frame.addEventListener("pointerup", end, { once: true });
    frame.addEventListener("pointercancel", end, { once: true });
  }
}

const pans = all(".pan").map((frame) => new Pan(frame));
const zoomAll = (times) => { for (const pan of pans) pan.to(times(pan.zoom), pan.worst); };

for (const radio of all("[name=zoom]")) radio.addEventListener("change", () => zoomAll(() => parseFloat(radio.id.slice(5))));

localTimes(document);

const tiles = document.getElementById("live");
if (tiles) live(tiles);

for (const form of all("form[data-sends-itself]")) form.addEventListener("change", () => form.requestSubmit());

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form.flag") || !event.submitter) return;
  event.preventDefault();
  flag(event.target, event.submitter);
});

const toggle = document.getElementById("flicker");
if (toggle) toggle.addEventListener("click", () => flicker(toggle));

const wipe = document.getElementById("wipe");
if (wipe) wipe.addEventListener("input", () => document.documentElement.style.setProperty("--wipe", `${wipe.value}%`));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || typing(event.target)) return;
  const card = event.target.closest(".card") || document.querySelector(".card.wide");
  if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  else if (event.key === "f" && toggle) flicker(toggle);
  else if (pans.length && "+=-0".includes(event.key)) zoomAll((zoom) => ({ "-": zoom / 2, "0": 1 })[event.key] ?? zoom * 2);
  else if (event.key === "x" && several && card) card.querySelector("[form=several]").click();
  else if (card && /^[1-4]$/.test(event.key)) {
    const button = card.querySelectorAll("form.flag button")[Number(event.key) - 1];
    if (button) flag(button.form, button);
  } else return;
  event.preventDefault();
});
