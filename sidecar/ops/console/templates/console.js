// Keeps the page current: the server sends the parts that have changed. Without this file the page is loaded again and again.
"use strict";
(() => {
  const live = document.getElementById("live");
  const main = document.querySelector("main");
  const RETRY = 10000; // milliseconds, after the server has refused to send changes

  const say = (text, good) => {
    if (live.textContent !== text) live.textContent = text;
    document.body.classList.toggle("stale", !good);
  };

  const put = (id, html) => {
    const place = document.getElementById(id);
    if (!place) return;
    const opened = [...place.querySelectorAll("details[open]")].map(each => each.id);
    const scrolled = [...place.querySelectorAll(".scroll")].map(each => [each.scrollLeft, each.scrollTop]);
    const focused = place.contains(document.activeElement)
      ? [...place.querySelectorAll("[tabindex], summary")].indexOf(document.activeElement)
      : -1;
    place.innerHTML = html;
    for (const each of opened) document.getElementById(each)?.setAttribute("open", "");
    place.querySelectorAll(".scroll").forEach((each, at) => {
      if (scrolled[at]) [each.scrollLeft, each.scrollTop] = scrolled[at];
    });
    if (focused >= 0) place.querySelectorAll("[tabindex], summary")[focused]?.focus({ preventScroll: true });
  };

  const watch = () => {
    const source = new EventSource("/console/events");
    source.addEventListener("parts", event => {
      for (const [id, html] of Object.entries(JSON.parse(event.data))) put(id, html);
      say("Live", true);
    });
    source.addEventListener("error", () => {
      say("Not connected", false);
      if (source.readyState !== EventSource.CLOSED) return; // the browser connects again by itself
      setTimeout(async () => {
        // A session may have ended: then the page asks for the token.
        const answer = await fetch("/console.json", { method: "HEAD", cache: "no-store" }).catch(() => null);
        if (answer && answer.status === 401) location.reload();
        else watch();
      }, RETRY);
    });
  };

  if (live && main) watch();
})();
