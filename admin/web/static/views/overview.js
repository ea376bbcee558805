// The overview: is everything all right?

import { chart } from "../charts.js";
import { attribute, h, icon, text } from "../dom.js";
import { byteRate, count, known, latency, period, plural, rate } from "../format.js";
import { secondsSince } from "../store.js";
import { table } from "../table.js";
import { demoPanel } from "./demo.js";
import { badgeCell, card, countCell, feed, link, problemList } from "./parts.js";
import { rules } from "./rules.js";
import { tile, tilesOf } from "./tile.js";

export const name = "overview";

// verdict says at a glance how things are, and lists the problems.
function verdict() {
	const headline = h("h1", { tabindex: "-1" });
	const facts = h("p", { class: "facts" });
	const mark = h("span", { class: "mark" });
	const problems = problemList();
	const node = h("section", { class: "verdict", "aria-label": "State" }, h("div", { class: "top" }, mark, h("div", {}, headline, facts)), problems.node);
	let tone = "";
	return {
		node,
		update(s) {
			const all = problemsOf(s);
			const serious = all.filter((p) => p.level !== "info");
			const now = serious.some((p) => p.level === "error") ? "error" : serious.length > 0 ? "warn" : "ok";
			if (now !== tone) {
				tone = now;
				attribute(node, "class", "verdict " + tone);
				mark.replaceChildren(icon(tone));
			}
			text(headline, serious.length === 0 ? "No problems" : plural(serious.length, "problem"));
			const backends = s.pools.flatMap((p) => p.backends);
			const usable = backends.filter((b) => b.state === "up" || b.state === "unknown").length;
			const open = s.listeners.filter((l) => l.state === "open").length;
			text(facts, [
				`${count(open)} of ${plural(s.listeners.length, "listener")} open`,
				`${count(usable)} of ${plural(backends.length, "backend")} usable`,
				`configuration ${s.config.generation} in effect for ${period(secondsSince(s.config.applied_at))}`,
			].join(" · "));
			problems.update(all);
		},
	};
}

// problemsOf are the problems, with the one that the process itself may have.
export function problemsOf(s) {
	return s.ready ? s.problems : [{ level: "error", kind: "not_ready", text: "not ready for clients: " + s.not_ready }, ...s.problems];
}

function tiles() {
	return tilesOf([
		tile("Connections", {
			lines: [{ key: "connections", color: "--chart-1" }],
			format: count, least: 4,
			value: (read, s) => count(Math.round(read("connections") ?? s.status?.connections)),
			note: (s) => s.status ? `of at most ${count(s.status.max_connections)}` : "",
		}),
		tile("New connections", {
			lines: [{ key: "accepted", color: "--chart-1" }],
			format: rate, least: 4,
			value: (read) => rate(read("accepted")) + " /s",
			note: (s) => busy(s.series.now("busy")),
		}),
		tile("Traffic", {
			lines: [{ key: "bytes_out", color: "--chart-2", name: "out", class: "c2" }, { key: "bytes_in", color: "--chart-1", name: "in", class: "c1" }],
			format: byteRate, least: 1000,
			value: (read) => byteRate(sum(read("bytes_in"), read("bytes_out"))),
			note: (s) => `in ${byteRate(s.series.now("bytes_in"))}, out ${byteRate(s.series.now("bytes_out"))}`,
		}),
		tile("Time to connect", {
			lines: [{ key: "p99", color: "--chart-3", name: "p99", class: "c3" }, { key: "p50", color: "--chart-1", name: "p50", class: "c1" }],
			format: latency, least: 0.001,
			value: (read) => latency(read("p99")),
			note: (s) => `p50 ${latency(s.series.now("p50"))}, worst p99 of all pools`,
		}),
		tile("Not served", {
			lines: [{ key: "failed", color: "--chart-4", name: "failed", class: "c4" }, { key: "denied", color: "--chart-3", name: "denied", class: "c3" }],
			format: rate, least: 1,
			value: (read) => rate(sum(read("failed"), read("denied"))) + " /s",
			note: (s) => `failed ${rate(s.series.now("failed"))}, denied ${rate(s.series.now("denied"))}`,
		}),
	]);
}

// busy says how much of its time the busiest event loop works.
function busy(share) {
	return known(share) ? `busiest event loop ${Math.round(share * 100)} %` : "";
}

function sum(a, b) {
	return known(a) || known(b) ? (a ?? 0) + (b ?? 0) : null;
}

// spark is a cell with a number and a small chart.
function spark(current, key, label) {
	return (td, item) => {
		const number = h("span", { class: "value" });
		const picture = chart({ label: `${label} of ${item.name}, the last 5 minutes`, lines: [{ key: key(item), color: "--chart-1" }], height: 24, least: 4 });
		td.append(h("div", { class: "spark" }, number, picture.node));
		const update = (now) => {
			text(number, current(now));
			picture.update(now.series);
		};
		update.destroy = picture.destroy;
		return update;
	};
}

function listeners() {
	const live = (part) => (l) => l.series.now(`listener/${part}/${l.name}`);
	const grid = table({
		caption: "Listeners",
		empty: "No listener is configured.",
		key: (l) => l.name,
		columns: [
			{ head: "Listener", cell: nameCell((l) => link.connections({ listener: l.name }), (l) => addresses(l.addresses) + clients(l.per_client)) },
			{ head: "State", cell: badgeCell((l) => l.state) },
			{ head: "Pool", cell: poolsCell },
			{ head: "Connections", kind: "number", cell: spark((l) => count(l.connections) + (l.max_connections > 0 ? " / " + count(l.max_connections) : ""), (l) => "listener/connections/" + l.name, "Connections") },
			{ head: "New /s", kind: "number", value: (l) => rate(live("accepted")(l)) },
			{ head: "In", kind: "number", value: (l) => byteRate(live("bytes_in")(l)) },
			{ head: "Out", kind: "number", value: (l) => byteRate(live("bytes_out")(l)) },
			{ head: "Denied /s", kind: "number", value: (l) => rate(live("denied")(l)) },
			{ head: "Failed /s", kind: "number", value: (l) => rate(live("failed")(l)) },
		],
	});
	return { ...grid, node: card("Listeners", {}, grid.node), update: (s) => grid.update(withSeries(s.status.listeners, s)) };
}

function pools() {
	const live = (part) => (p) => p.series.now(`pool/${part}/${p.name}`);
	const grid = table({
		caption: "Pools",
		empty: "No pool is configured.",
		key: (p) => p.name,
		columns: [
			{ head: "Pool", cell: nameCell((p) => link.pool(p.name), (p) => p.policy) },
			{ head: "State", cell: badgeCell((p) => p.serving ? "serving" : "not serving") },
			{ head: "Backends", cell: healthCell },
			{ head: "Connections", kind: "number", cell: spark((p) => count(connectionsOf(p)) + (p.max_connections > 0 ? " / " + count(p.max_connections) : ""), (p) => "pool/connections/" + p.name, "Connections") },
			{ head: "Dials /s", kind: "number", value: (p) => rate(live("dials")(p)) },
			{ head: "Failed /s", kind: "number", value: (p) => rate(live("failed_dials")(p)) },
			{ head: "p50", kind: "number", value: (p) => latency(live("p50")(p)) },
			{ head: "p99", kind: "number", value: (p) => latency(live("p99")(p)) },
			{ head: "Queued", kind: "number", cell: countCell((p) => p.queued) },
		],
	});
	return { ...grid, node: card("Pools", {}, grid.node), update: (s) => grid.update(withSeries(s.status.pools, s)) };
}

export function connectionsOf(pool) {
	return pool.backends.reduce((all, b) => all + b.connections, 0);
}

function withSeries(items, state) {
	return items.map((item) => ({ ...item, series: state.series }));
}

function addresses(all) {
	const [first, ...rest] = all ?? [];
	return first === undefined ? "no address" : rest.length === 0 ? first : `${first} and ${rest.length} more`;
}

// clients says how many clients the limits of a listener are about, and how often they refused one.
function clients(limits) {
	return limits ? `; ${plural(limits.clients, "client")}, ${count(limits.refused_connections + limits.refused_rate)} refused` : "";
}

function nameCell(to, note) {
	return (td, item) => {
		const small = h("span", { class: "sub" });
		td.append(h("a", { href: to(item), class: "name" }, item.name), small);
		return (now) => text(small, note(now));
	};
}

// poolsCell links the pools to which a listener sends clients: its own, and those of its routes.
function poolsCell(td) {
	const most = 3;
	let shown = null;
	return (listener) => {
		const all = [...new Set([listener.pool, ...(listener.routes ?? []).map((r) => r.pool)])].filter(Boolean);
		const key = JSON.stringify(all);
		if (key === shown) {
			return;
		}
		shown = key;
		const links = all.slice(0, most).flatMap((name, i) => [i ? ", " : null, h("a", { class: "name", href: link.pool(name) }, name)]);
		td.replaceChildren(...links.filter(Boolean), all.length > most ? ` and ${all.length - most} more` : "");
	};
}

// healthCell shows how many backends are in which state: in words, and as a bar.
function healthCell(td) {
	const words = h("span");
	const parts = ["good", "info", "warn", "bad"].map((tone) => h("span", { class: tone }));
	td.append(h("div", { class: "health" }, words, h("span", { class: "meter", "aria-hidden": "true" }, parts)));
	return (pool) => {
		const n = { good: 0, info: 0, warn: 0, bad: 0 };
		for (const b of pool.backends) {
			n[{ up: "good", unknown: "good", drain: "info", backoff: "warn", ejected: "warn" }[b.state] ?? "bad"]++;
		}
		text(words, `${count(n.good)} of ${count(pool.backends.length)}`);
		parts.forEach((part) => { part.style.flexGrow = n[part.className]; });
	};
}

// create makes the view.
export function create() {
	const events = feed();
	const onlyWarnings = h("input", { type: "checkbox" });
	const missed = h("p", { class: "note", hidden: true });
	const head = verdict();
	const demo = demoPanel();
	const parts = [tiles(), listeners(), pools(), rules()];
	const node = h("div", { class: "view overview" },
		head.node, demo.node, parts[0].node,
		h("div", { class: "columns" },
			h("div", { class: "stack" }, parts[1].node, parts[2].node, parts[3].node),
			card("Events", { class: "events", aside: h("label", { class: "check" }, onlyWarnings, " Warnings only") }, missed, events.node)));
	return {
		node,
		title: "Overview",
		heading: head.node.querySelector("h1"),
		update(state) {
			node.classList.toggle("loading", !state.status);
			if (!state.status) {
				return;
			}
			head.update(state.status);
			demo.update(state);
			parts.forEach((part) => part.update(state));
			events.update(onlyWarnings.checked ? state.events.filter((e) => e.level !== "info") : state.events);
			missed.hidden = state.missed === 0;
			text(missed, `${count(state.missed)} messages were missed because this page was too slow.`);
		},
		destroy: () => parts.forEach((part) => part.destroy()),
	};
}
