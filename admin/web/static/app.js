// The page: views by the hash of the address, the state of the connection, the theme.

import { restyle } from "./charts.js";
import { attribute, h, icon, text } from "./dom.js";
import { clock, period, plural } from "./format.js";
import { serverNow, start, state, subscribe } from "./store.js";
import * as bans from "./views/bans.js";
import * as config from "./views/config.js";
import * as connections from "./views/connections.js";
import * as overview from "./views/overview.js";
import * as pool from "./views/pool.js";

const main = document.getElementById("main");
let view = null;

// route makes the view that the address names.
function route() {
	const [path, parameters] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
	const [first, ...rest] = path.split("/");
	switch (first) {
	case "pool":
		return [pool, pool.create(decode(rest.join("/")))];
	case "connections":
		return [connections, connections.create(new URLSearchParams(parameters))];
	case "bans":
		return [bans, bans.create(new URLSearchParams(parameters))];
	case "config":
		return [config, config.create()];
	default:
		return [overview, overview.create()];
	}
}

function decode(name) {
	try {
		return decodeURIComponent(name);
	} catch {
		return name;
	}
}

function navigate(moved) {
	view?.destroy();
	const [module, next] = route();
	view = next;
	main.replaceChildren(view.node);
	main.dataset.view = module.name;
	for (const a of document.querySelectorAll(".tabs a")) {
		const current = a.dataset.view === module.name || module === pool && a.dataset.view === "overview";
		attribute(a, "aria-current", current ? (module === pool ? "true" : "page") : null);
	}
	update();
	if (moved) {
		window.scrollTo(0, 0);
		view.heading.focus({ preventScroll: true }); // a screen reader reads it
	}
}

const link = document.getElementById("link");
const stale = document.getElementById("stale");
const foot = document.getElementById("foot");
const announce = document.getElementById("announce");

// update shows the state in the view and around it.
function update() {
	const { status } = state;
	view.update(state);
	const serious = status ? overview.problemsOf(status).filter((p) => p.level !== "info") : [];
	document.title = (serious.length > 0 ? `(${serious.length}) ` : "") + view.title + " · l4proxy " + location.host;

	const { name } = state.link;
	attribute(link, "class", "link " + name);
	text(link.lastElementChild, { live: "Live", connecting: "Connecting", waiting: "Reconnecting", refused: "Not live" }[name]);
	const lost = name === "waiting" || name === "refused";
	document.body.classList.toggle("lost", name === "waiting");
	stale.hidden = !lost;
	if (lost) { // without seconds, which would be read out one by one
		text(stale, name === "waiting"
			? `Disconnected, reconnecting${status ? `. These figures are from ${clock(state.statusAt + performance.timeOrigin)}` : ""}.`
			: `No live updates: ${state.link.error}.`);
	}
	if (status) {
		text(foot, [
			`l4proxy ${status.version}`, `pid ${status.pid}`, `up ${period((serverNow() - Date.parse(status.started)) / 1000)}`,
			`${status.engine} on ${plural(status.workers, "event loop")}`,
		].join(" · "));
		// Problems are read out when others come or go, not when their ages grow.
		text(announce, serious.length === 0 ? "No problems" : plural(serious.length, "problem") + ": " +
			serious.slice(0, 3).map((p) => [p.kind.replaceAll("_", " "), p.listener, p.pool, p.backend].filter(Boolean).join(" ")).join("; "));
	}
}

// The theme: that of the system, light, or dark.
const themes = ["auto", "light", "dark"];
const glyphs = { auto: "auto", light: "sun", dark: "moon" };
const toggle = document.getElementById("theme");

function theme() {
	return document.documentElement.dataset.theme ?? "auto";
}

function showTheme() {
	toggle.replaceChildren(icon(glyphs[theme()]));
	attribute(toggle, "aria-label", "Theme: " + theme());
	attribute(toggle, "title", "Theme: " + theme());
	restyle();
}

toggle.addEventListener("click", () => {
	const next = themes[(themes.indexOf(theme()) + 1) % themes.length];
	if (next === "auto") {
		delete document.documentElement.dataset.theme;
	} else {
		document.documentElement.dataset.theme = next;
	}
	try {
		localStorage.setItem("l4proxy-theme", next);
	} catch {
		// It lasts until the page is left.
	}
	showTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);

text(document.getElementById("host"), location.host);

// The skip link would change the hash, which names the view.
document.querySelector(".skip").addEventListener("click", (event) => {
	event.preventDefault();
	main.focus();
});

window.addEventListener("hashchange", () => navigate(true));
showTheme();
navigate(false);
subscribe(update);
start();
