// What the page knows of the proxy. One stream brings events and Stats; the status is fetched every
// few seconds, and at once when an event says that something has changed.

import { call, describe } from "./api.js";
import { Series } from "./series.js";
import { follow } from "./sse.js";

const statusEvery = 2000;
const soon = 150; // after an event
// A hidden tab closes its stream after a time: a browser has six connections for all of its tabs.
const hiddenEvery = 10000;
const hiddenFor = 60000;
export const mostEvents = 300;

export const state = {
	status: null,
	statusAt: 0, // performance.now() of its arrival
	statusError: "",
	skew: 0, // milliseconds that the proxy's clock is ahead
	series: new Series(),
	events: [], // the latest first
	missed: 0, // messages of the stream
	demo: [],
	link: { name: "connecting", error: "", retryAt: 0 },
};

const listeners = new Set();
let scheduled = false;

// subscribe calls f after changes, before the next frame. It returns what ends that.
export function subscribe(f) {
	listeners.add(f);
	return () => listeners.delete(f);
}

// changed tells the views. In a hidden tab there are no frames, but its title changes too.
export function changed() {
	if (scheduled) {
		return;
	}
	scheduled = true;
	const tell = () => {
		scheduled = false;
		for (const f of [...listeners]) {
			f(state);
		}
	};
	if (document.visibilityState === "visible") {
		requestAnimationFrame(tell);
	} else {
		setTimeout(tell, soon);
	}
}

// serverNow is the time of the proxy's clock in milliseconds.
export function serverNow() {
	return Date.now() + state.skew;
}

// secondsSince is how long ago a time of the API is.
export function secondsSince(time) {
	return (serverNow() - Date.parse(time)) / 1000;
}

let process = "";
let timer;
let fetching = null;

// refresh fetches the status now.
export function refresh() {
	clearTimeout(timer);
	fetching ??= fetchStatus().finally(() => {
		fetching = null;
	});
	return fetching;
}

async function fetchStatus() {
	const began = performance.now();
	try {
		const status = await call("GET", "/api/v1/status", { background: true });
		take(status);
		if (status.demo) {
			state.demo = await call("GET", "/api/v1/demo", { background: true });
		}
		state.statusError = "";
	} catch (err) {
		state.statusError = describe(err);
	}
	changed();
	// A large status takes long: at most a tenth of the time is spent on it.
	schedule(Math.max(statusEvery, 10 * (performance.now() - began)));
}

function take(status) {
	const running = status.pid + " " + status.started;
	if (process && process !== running) { // a restart, or an upgrade: its counts start again
		lastEvent = 0;
	}
	process = running;
	status.listeners ??= [];
	status.pools ??= [];
	status.problems ??= [];
	status.drains ??= [];
	state.status = status;
	state.statusAt = performance.now();
	state.skew = Date.parse(status.started) + status.uptime * 1000 - Date.now();
}

function schedule(delay) {
	clearTimeout(timer);
	timer = setTimeout(() => {
		if (state.link.name !== "waiting") {
			refresh();
		} else {
			schedule(statusEvery);
		}
	}, document.visibilityState === "visible" ? delay : Math.max(delay, hiddenEvery));
}

let lastEvent = 0;

const receiver = {
	// before fetches the status first: a proxy that has restarted counts its events from the start.
	async before() {
		const status = await call("GET", "/api/v1/status", { background: true });
		take(status);
		changed();
		return lastEvent;
	},
	message(name, value) {
		if (name === "stats") {
			state.series.add(value);
		} else if (name === "history") {
			(value ?? []).forEach((stats) => state.series.add(stats));
		} else if (name === "event") {
			addEvent(value);
		} else if (name === "gap") {
			state.missed += value.missed;
		}
		changed();
	},
	state(name, delay, problem) {
		state.link = { name, error: problem ? describe(problem) : "", retryAt: performance.now() + (delay ?? 0) };
		if (name === "live") {
			refresh();
		}
		changed();
	},
};

function addEvent(event) {
	lastEvent = event.id;
	if (state.events.some((e) => e.id === event.id && e.time === event.time)) {
		return; // the stream was opened again
	}
	state.events.unshift(event);
	state.events.length = Math.min(state.events.length, mostEvents);
	schedule(soon);
}

let stream = null;
let hiddenTimer;

function open() {
	if (!stream) {
		stream = new AbortController();
		follow(receiver, stream.signal);
	}
}

function close() {
	stream?.abort();
	stream = null;
}

// start begins to follow the proxy.
export function start() {
	document.addEventListener("visibilitychange", () => {
		clearTimeout(hiddenTimer);
		if (document.visibilityState === "visible") {
			open();
			refresh();
			changed();
		} else {
			hiddenTimer = setTimeout(close, hiddenFor);
		}
	});
	window.addEventListener("pagehide", close);
	window.addEventListener("pageshow", (event) => event.persisted && open());
	open();
	setInterval(changed, 1000); // ages grow
}

// command sends a request that changes something, and then shows the result.
export async function command(method, path, options) {
	try {
		return await call(method, path, options);
	} finally {
		refresh();
	}
}

