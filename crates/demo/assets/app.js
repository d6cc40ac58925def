// The page works without this. With it, comments arrive by themselves and a
// new one is sent without a reload.
(() => {
  "use strict";
  const page = document.body;
  if (!("live" in page.dataset)) return;

  // More of them are on the older pages.
  const LIST_MAX = 200;
  const TOLD_MAX = 50;
  const HIDDEN_CLOSE_MS = 10_000;
  const HELD_NOTE_MS = 800;
  const $ = (id) => document.getElementById(id);
  const list = page.dataset.first !== undefined ? $("list") : null;

  // ---- The stream ---------------------------------------------------------
  let after = Number(page.dataset.after);
  let source = null;
  let retryMs = 1000;
  let retryTimer = 0;
  let lostTimer = 0;
  let hiddenTimer = 0;

  function connect() {
    clearTimeout(retryTimer);
    if (source) return;
    source = new EventSource("/live?after=" + after);
    source.onopen = () => {
      retryMs = 1000;
      clearTimeout(lostTimer);
      lostTimer = 0;
      setStatus("live", "Live");
    };
    source.onerror = () => {
      // A short gap is not worth a word.
      lostTimer ||= setTimeout(() => setStatus("lost", "Reconnecting…"), 400);
      // Browsers come back by themselves, except after an error page.
      if (source.readyState === EventSource.CLOSED) {
        source = null;
        retryTimer = setTimeout(connect, retryMs);
        retryMs = Math.min(retryMs * 2, 10_000);
      }
    };
    source.addEventListener("comment", (event) => arrived(JSON.parse(event.data)));
    source.addEventListener("pulse", (event) => pulse(JSON.parse(event.data)));
    source.addEventListener("told", (event) => told(JSON.parse(event.data)));
    source.addEventListener("discussed", (event) => discussed(JSON.parse(event.data)));
    source.addEventListener("story", (event) => story(JSON.parse(event.data)));
  }

  function disconnect() {
    clearTimeout(retryTimer);
    if (source) source.close();
    source = null;
  }

  // Browsers allow six connections to a server over all tabs: a tab that
  // nobody sees gives its own back, and catches up when it is seen again.
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) hiddenTimer = setTimeout(disconnect, HIDDEN_CLOSE_MS);
    else connect();
  });
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", () => { if (!document.hidden) connect(); });
  addEventListener("online", () => { disconnect(); connect(); });

  function setStatus(state, text) {
    const status = $("status");
    status.hidden = false;
    status.dataset.state = state;
    setText(status.querySelector("span"), text);
  }

  // Screen readers would say an unchanged text again.
  function setText(element, text) {
    if (element.textContent === text) return false;
    element.textContent = text;
    return true;
  }

  // ---- What arrives -------------------------------------------------------
  function arrived(comment) {
    after = Math.max(after, comment.id);
    if (String(comment.post) === page.dataset.post) insert(comment);
    count(comment);
  }

  function insert(comment) {
    if (!list || $("comment-" + comment.id)) return;
    const template = document.createElement("template");
    template.innerHTML = comment.html; // Escaped by the server.
    const item = template.content.firstElementChild;
    item.classList.add("arrived");
    // Newest first, also when our own overtook somebody else's.
    const next = [...list.children].find((other) => Number(other.dataset.id) < comment.id);
    list.insertBefore(item, next ?? null);
    while (list.children.length > LIST_MAX) list.lastElementChild.remove();
  }

  function count({ post, count }) {
    const label = count === 1 ? "1 comment" : count.toLocaleString("en-US") + " comments";
    for (const element of document.querySelectorAll(`[data-count="${post}"]`)) {
      if (setText(element, label)) flash(element);
    }
  }

  function show(facts) {
    for (const element of document.querySelectorAll("[data-fact]")) {
      const name = element.dataset.fact;
      if (name in facts && setText(element, String(facts[name])) && name !== "up") flash(element);
    }
  }

  function pulse(facts) {
    show(facts);
    $("moving").hidden = false;
    setStatus("live", facts.readers > 1 ? `Live · ${facts.readers} reading` : "Live · only you");
    const fresh = $("fresh");
    if (fresh && list === null && page.dataset.first !== undefined) {
      fresh.hidden = facts.newest_post <= Number(page.dataset.newestPost);
    }
  }

  // The job that tells the author may well be faster than the answer to the
  // comment: what it said is kept until that is here.
  let own = 0;
  const toldAfter = new Map();

  function told(facts) {
    show(facts);
    toldAfter.set(facts.told_comment, facts.told_after);
    if (toldAfter.size > TOLD_MAX) toldAfter.delete(toldAfter.keys().next().value);
    tellOwn();
  }

  function tellOwn() {
    const after = toldAfter.get(own);
    if (own && after) setText($("note"), `The author was told ${after} later, by a background job.`);
  }

  function discussed({ html }) {
    const box = $("discussed");
    if (box) box.innerHTML = html; // Escaped by the server.
  }

  // What became of the volume, once it was lost.
  let telling = false;
  function story({ html }) {
    const box = $("story");
    if (!box || telling) return;
    const told = document.createElement("div");
    told.innerHTML = html; // Escaped by the server.
    // Only the words about the time change by themselves.
    const facts = (element) => element.querySelector("dl")?.textContent;
    if (facts(told) === facts(box)) return;
    box.replaceChildren(...told.childNodes);
    flash(box);
  }

  function flash(element) {
    element.classList.remove("flash");
    void element.offsetWidth; // Starts the animation again.
    element.classList.add("flash");
  }

  // ---- What is said -------------------------------------------------------
  const form = $("say");
  if (form) {
    const { name, body } = form.elements;
    const button = form.querySelector("button");
    const note = $("note");
    try { name.value ||= localStorage.getItem("name") ?? ""; } catch { /* Not allowed here. */ }

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send();
    });
    body.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });

    async function send() {
      if (button.disabled) return;
      button.disabled = true;
      own = 0;
      complain({});
      const held = setTimeout(() => {
        setText(note, "Still sending. If the app is restarting, the gate holds your comment for it.");
      }, HELD_NOTE_MS);
      try {
        const response = await fetch(form.action, {
          method: "POST",
          headers: { Accept: "application/json" },
          body: new URLSearchParams(new FormData(form)),
        });
        const answer = await response.json().catch(() => ({}));
        if (response.ok) {
          if (list) arrivedOwn(answer);
          else location.assign("/posts/" + page.dataset.post + "#comment-" + answer.id);
        } else if (answer.errors) {
          complain(answer.errors);
        } else {
          setText(note, answer.error ?? "The server could not take it. Your text is still here; try again.");
        }
      } catch {
        setText(note, "The server cannot be reached. Your text is still here; try again.");
      } finally {
        clearTimeout(held);
        button.disabled = false;
      }
    }

    // Not `arrived`: others may have commented before us, and the stream has
    // yet to bring theirs.
    function arrivedOwn(comment) {
      insert(comment);
      count(comment);
      own = comment.id;
      tellOwn();
      body.value = "";
      body.focus();
      try { localStorage.setItem("name", name.value); } catch { /* Not allowed here. */ }
    }

    function complain(errors) {
      setText(note, "");
      for (const field of [name, body]) {
        const text = errors[field.name] ?? "";
        setText($(field.name + "-error"), text);
        if (text) field.setAttribute("aria-invalid", "true");
        else field.removeAttribute("aria-invalid");
      }
    }
    if ("refused" in form.dataset) form.scrollIntoView({ block: "center" });
  }

  // ---- The volume is lost -------------------------------------------------
  const lose = $("lose");
  if (lose) {
    const button = lose.querySelector("button");
    const box = $("story");
    const json = { headers: { Accept: "application/json" } };
    const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    lose.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      telling = true;
      const began = performance.now();
      const waited = () => ((performance.now() - began) / 1000).toFixed(1) + " s";
      const say = (text) => {
        const line = document.createElement("p");
        line.className = "verdict";
        line.textContent = text;
        box.replaceChildren(line);
      };
      say("The database is gone. Requests wait …");
      let answer = {};
      try {
        const response = await fetch(lose.action, { ...json, method: "POST" });
        if (!response.ok) throw new Error();
        do {
          await pause(50);
          // Waits at the gate until the app is back.
          const response = await fetch("/lost", json);
          if (!response.ok) throw new Error();
          answer = await response.json();
        } while (answer.gone);
      } catch {
        say("It has not come back yet. The log of monolite says why.");
      }
      telling = false;
      button.disabled = false;
      if (answer.html === undefined) return;
      story(answer);
      const how = box.querySelector(".how");
      if (how) how.append(` This page waited ${waited()}.`);
    });
  }

  // ---- Time passes --------------------------------------------------------
  function ago(seconds) {
    const say = (n, unit) => `${n} ${unit}${n === 1 ? "" : "s"} ago`;
    if (seconds < 45) return "just now";
    if (seconds < 3600) return say(Math.max(1, Math.floor(seconds / 60)), "minute");
    if (seconds < 86400) return say(Math.floor(seconds / 3600), "hour");
    if (seconds < 604800) return say(Math.floor(seconds / 86400), "day");
    return null; // A date, which does not change.
  }
  function tick() {
    if (document.hidden) return;
    for (const element of document.querySelectorAll("time[datetime]")) {
      const text = ago((Date.now() - Date.parse(element.dateTime)) / 1000);
      if (text) setText(element, text);
    }
  }
  setInterval(tick, 20_000);
  tick(); // What comes from the cache is older than the page.

  if (!document.hidden) connect();
})();
