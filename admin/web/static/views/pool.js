// One pool and its backends.

import { down, drain, kill, restore, weigh } from "../actions.js";
import { attribute, field, h, icon, select, text } from "../dom.js";
import { count, latency, period, plural, rate } from "../format.js";
import { secondsSince } from "../store.js";
import { table } from "../table.js";
import { connectionsOf } from "./overview.js";
import { badge, card, countCell, feed, link, problemList } from "./parts.js";
import { tile, tilesOf } from "./tile.js";

export const name = "pool";

// order is how soon a backend is shown: problems first.
const order = { down: 0, ejected: 1, backoff: 2, drain: 3 };

// figures are the live figures of a pool.
function figures(pool) {
	const key = (part) => `pool/${part}/${pool}`;
	const live = (part) => (s) => s.series.now(key(part));
	return tilesOf([
		tile("Connections", {
			lines: [{ key: key("connections"), color: "--chart-1" }],
			format: count, least: 4,
			value: (read, s) => count(Math.round(read(key("connections")) ?? connectionsOf(find(s, pool)))),
			note: (s) => plural(find(s, pool).queued ?? 0, "client") + " queued",
		}),
		tile("Dials", {
			lines: [{ key: key("dials"), color: "--chart-1", name: "all", class: "c1" }, { key: key("failed_dials"), color: "--chart-4", name: "failed", class: "c4" }],
			format: rate, least: 4,
			value: (read) => rate(read(key("dials"))) + " /s",
			note: (s) => `failed ${rate(live("failed_dials")(s))} /s`,
		}),
		tile("Time to connect", {
			lines: [{ key: key("p99"), color: "--chart-3", name: "p99", class: "c3" }, { key: key("p50"), color: "--chart-1", name: "p50", class: "c1" }],
			format: latency, least: 0.001,
			value: (read) => latency(read(key("p99"))),
			note: (s) => `p50 ${latency(live("p50")(s))}`,
		}),
	]);
}

function stateCell(td) {
	const b = badge();
	const since = h("span", { class: "sub" });
	td.append(b.node, since);
	return (backend) => {
		b.update(backend.state);
		const parts = backend.since ? ["for " + period(secondsSince(backend.since))] : [];
		if (backend.retry_in > 0) {
			parts.push("retry in " + period(Math.ceil(backend.retry_in)));
		}
		text(since, parts.join(", "));
	};
}

function backendCell(td, backend) {
	const small = h("span", { class: "sub" });
	td.append(h("span", { class: "name" }, backend.address), small);
	return (now) => text(small, [now.resolved, now.backup ? "backup" : ""].filter(Boolean).join(", "));
}

function connectionsCell(pool) {
	return (td, backend) => {
		const a = h("a", { href: link.connections({ pool, backend: backend.address }) });
		td.append(a);
		return (now) => text(a, count(now.connections) + (now.max_connections > 0 ? " / " + count(now.max_connections) : ""));
	};
}

function weightCell(pool) {
	return (td, backend) => {
		let latest = backend;
		const button = h("button", { type: "button", class: "quiet weight", onclick: () => weigh(pool, latest) });
		td.append(button);
		return (now) => {
			latest = now;
			text(button, count(now.weight));
			const other = now.configured_weight && now.configured_weight !== now.weight;
			attribute(button, "title", other ? `Configured: ${now.configured_weight}` : null);
			button.classList.toggle("other", Boolean(other));
			attribute(button, "aria-label", `Weight ${count(now.weight)} of ${now.address}: change`);
		};
	};
}

function actionsCell(pool) {
	return (td, backend) => {
		let latest = backend;
		const make = (label, run, kind) => h("button", { type: "button", class: kind, "aria-label": `${label} ${backend.address}`, onclick: () => run() }, label);
		const buttons = {
			drain: make("Drain", () => drain(pool, latest)),
			down: make("Down", () => down(pool, latest)),
			restore: make("Restore", () => restore(pool, latest)),
			kill: make("Kill…", () => kill({ pool, backend: latest.address }, `Ends the client and backend sides of connections to ${latest.address}.`), "danger-text"),
		};
		td.append(h("div", { class: "group" }, buttons.restore, buttons.drain, buttons.down, buttons.kill));
		return (now) => {
			latest = now;
			buttons.restore.hidden = !now.operator;
			buttons.drain.hidden = now.operator;
			buttons.down.hidden = now.operator === "down";
			buttons.kill.disabled = now.connections === 0;
		};
	};
}

// create makes the view of a pool.
export function create(pool) {
	const heading = h("h1", { tabindex: "-1" }, "Pool ", h("span", { class: "name" }, pool));
	const state = badge();
	const facts = h("p", { class: "facts" });
	const gone = h("p", { class: "problem warn", hidden: true }, "The proxy has no pool with this name.");
	const problems = problemList(link.pool(pool));
	const live = figures(pool);
	const search = h("input", { type: "search", name: "search", placeholder: "address or error", oninput: () => update(last) });
	const which = select("state", [["", "all"], ...["up", "unknown", "down", "drain", "backoff", "ejected"].map((s) => [s, s])], { onchange: () => update(last) });
	const matched = h("span", { class: "note" });
	const grid = table({
		caption: "Backends of pool " + pool,
		empty: "No backend matches.",
		key: (b) => b.address,
		columns: [
			{ head: "Backend", cell: backendCell },
			{ head: "State", kind: "full", cell: stateCell },
			{ head: "Connections", kind: "number", cell: connectionsCell(pool) },
			{ head: "Weight", kind: "number", cell: weightCell(pool) },
			{ head: "Total", kind: "number", cell: countCell((b) => b.total) },
			{ head: "Failed dials", kind: "number", cell: countCell((b) => b.failed_dials) },
			{ head: "Last error", kind: "grow", value: (b) => b.error || "–" },
			{ head: "Actions", kind: "actions", cell: actionsCell(pool) },
		],
	});
	const names = table({
		caption: "Names of pool " + pool + " that follow DNS",
		empty: "",
		key: (n) => n.backend,
		columns: [
			{ head: "Name", cell: (td, n) => { td.append(h("span", { class: "name" }, n.backend)); } },
			{ head: "Addresses", kind: "grow", value: (n) => (n.addresses ?? []).slice(0, 6).join(", ") + (n.addresses?.length > 6 ? ` and ${n.addresses.length - 6} more` : "") },
			{ head: "Resolved", value: (n) => n.resolved ? period(secondsSince(n.resolved)) + " ago" : "–" },
			{ head: "TTL", kind: "number", value: (n) => period(n.ttl_seconds) },
			{ head: "Error", kind: "grow", value: (n) => n.error || "–" },
		],
	});
	const namesCard = card("Host names", {}, names.node);
	const events = feed({ most: 30, match: (e) => e.pool === pool });
	const content = h("div", { class: "stack" },
		problems.node,
		live.node,
		card("Backends", { aside: h("form", { class: "filters", role: "search", onsubmit: (e) => e.preventDefault() }, matched, field("Find", search), field("State", which)) }, grid.node),
		namesCard,
		card("Events", { class: "events" }, events.node));
	let last = null;

	function update(all) {
		last = all;
		if (!all?.status) {
			return;
		}
		const p = find(all, pool);
		gone.hidden = Boolean(p.found);
		content.hidden = !p.found;
		if (!p.found) {
			return;
		}
		const operator = new Map(all.status.drains.filter((d) => d.pool === pool && d.backend).map((d) => [d.backend, d.state]));
		state.update(p.serving ? "serving" : "not serving");
		text(facts, [p.policy, plural(p.backends.length, "backend"), p.queued > 0 ? plural(p.queued, "client") + " queued" : ""].filter(Boolean).join(" · "));
		// Those of single backends are in the table.
		problems.update(all.status.problems.filter((p) => p.pool === pool && !(p.backend && (p.kind === "drain" || p.kind.startsWith("backend_")))));
		live.update(all);
		const word = search.value.trim().toLowerCase();
		const shown = p.backends.filter((b) => (!which.value || b.state === which.value) &&
			(!word || `${b.address} ${b.resolved ?? ""} ${b.error ?? ""}`.toLowerCase().includes(word)));
		shown.sort((a, b) => (order[a.state] ?? 9) - (order[b.state] ?? 9));
		text(matched, shown.length === p.backends.length ? "" : `${count(shown.length)} of ${count(p.backends.length)}`);
		grid.update(shown.map((b) => ({ ...b, operator: operator.get(b.address) ?? "" })));
		namesCard.hidden = !p.names?.length;
		names.update(p.names ?? []);
		events.update(all.events);
	}

	return {
		node: h("div", { class: "view" },
			h("p", { class: "crumbs" }, h("a", { href: "#/" }, "Overview"), icon("arrow"), "Pool"),
			h("div", { class: "title" }, heading, state.node), facts, gone, content),
		title: "Pool " + pool,
		heading,
		update,
		destroy() {
			live.destroy();
			grid.destroy();
		},
	};
}

function find(all, name) {
	const p = all.status.pools.find((each) => each.name === name);
	return p ? { ...p, found: true } : { backends: [], found: false };
}
