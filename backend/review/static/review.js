"use strict";
// What a page gains from a script: figures as they change, keys, flags without a new page, flicker and slider.
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
    put("since", now.served.since ? `since ${local.format(new Date(now.served.since))}, by decision ${now.served.number}` : "the base model: nothing was promoted yet");
    put("why", now.served.reason || "");
    put("decided", now.served.decided === now.served.version ? "" : `${now.served.decided} was chosen and is being loaded`);
    put("phase", now.phase);
    put("queued", String(now.queue.queued));
    put("error", now.error || "");
    put("progress", now.said);
    const { changed, train_after } = now.automatic;
    put("automatic", train_after ? `${changed} of ${train_after} until the next training` : "trains only when asked");
    put("cancelled", now.cancelled ? `cancelled ${local.format(new Date(now.cancelled))}` : "");
    put("no-worker", now.queue.workers ? "" : "no worker runs: start one with samloop worker");
    put("no-refresher", now.refresh.workers ? "" : "no worker for refreshes runs: start one with samloop worker --refresh");
    tiles.querySelector("[data-live=training-end]").hidden = now.phase === "idle" || now.phase === "failed";
    const share = now.share;
    const bar = tiles.querySelector("[data-live=bar]");
    bar.hidden = share === null || now.phase !== "training";
    bar.value = share || 0;
    refreshing(tiles, now.refresh, put);
  });
  addEventListener("pagehide", () => events.close());
}

// A part of the page as the server shows it now.
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
  if (isBusy) put("refresh-told", total ? `${done} of ${total} tasks, ${version}` : "A refresh gives tasks that nobody has touched masks from the served version.");
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
  // Slow enough for anybody: below three changes a second.
  flicker.timer = setInterval(() => { root.toggle("shows-base"); root.toggle("shows-candidate"); }, 600);
}

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
  else if (card && /^[1-4]$/.test(event.key)) {
    const button = card.querySelectorAll("form.flag button")[Number(event.key) - 1];
    if (button) flag(button.form, button);
  } else return;
  event.preventDefault();
});
