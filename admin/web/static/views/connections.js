// The live connections: filter, sort, page, end.

import { kill } from "../actions.js";
import { call, describe, query } from "../api.js";
import { attribute, field, h, select, text } from "../dom.js";
import { byteRate, bytes, count, latency, period, plural } from "../format.js";
import { state as store } from "../store.js";
import { table } from "../table.js";
import { badgeCell, card, link } from "./parts.js";

export const name = "connections";

const every = 2000;
const sorts = [["age", "oldest first"], ["idle", "longest idle first"], ["bytes", "most bytes first"], ["rate", "fastest first"]];
const filters = ["listener", "pool", "backend", "from", "older_than", "idle"];
const limits = [["100", "100"], ["250", "250"], ["1000", "1000"]];

// sortHead is the head of a column that the proxy can sort by.
function sortHead(label, by, choose) {
	return h("button", { type: "button", class: "sort", "data-sort": by, onclick: () => choose(by) }, label);
}

function choices(values) {
	return [["", "any"], ...values.map((value) => [value, value])];
}

// create makes the view. parameters are those of its address.
export function create(parameters) {
	const status = store.status;
	const input = (name, props) => h("input", { name, type: "text", autocomplete: "off", spellcheck: "false", value: parameters.get(name) ?? "", ...props });
	const form = h("form", { class: "filters wide", role: "search", "aria-label": "Filter", onsubmit: (e) => { e.preventDefault(); apply(); }, onchange: () => apply() },
		field("Listener", select("listener", choices((status?.listeners ?? []).map((l) => l.name)))),
		field("Pool", select("pool", choices((status?.pools ?? []).map((p) => p.name)))),
		field("Backend", input("backend", { placeholder: "10.0.0.5:5432" })),
		field("Client", input("from", { placeholder: "10.1.0.0/16" })),
		field("Older than", input("older_than", { placeholder: "10m", size: 6 })),
		field("Idle for", input("idle", { placeholder: "30s", size: 6 })),
		field("Sort", select("sort", sorts)),
		field("Per page", select("limit", limits)));
	for (const name of ["listener", "pool", "sort", "limit"]) {
		const control = form.elements[name];
		const value = parameters.get(name);
		if (value && ![...control.options].some((o) => o.value === value)) {
			control.append(h("option", { value }, value)); // of a listener that is gone, or not known yet
		}
		control.value = value || control.options[0].value;
	}
	const summary = h("p", { class: "facts", role: "status" }, "Loading…");
	const problem = h("p", { class: "problem error", role: "alert", hidden: true });
	const live = h("input", { type: "checkbox", checked: true, onchange: () => load() });
	const end = h("button", { type: "button", class: "danger-text", onclick: () => endAll() }, "End all that match…");
	const clear = h("a", { href: link.connections({}), class: "button quiet" }, "Clear filter");
	const back = h("button", { type: "button", class: "plain", onclick: () => { pages.pop(); load(); } }, "Previous");
	const on = h("button", { type: "button", class: "plain", onclick: () => { pages.push(next); load(); } }, "Next");
	const where = h("span", { class: "note" });
	const heading = h("h1", { tabindex: "-1" }, "Connections");

	const byAge = sortHead("Age", "age", choose);
	const byIdle = sortHead("Idle", "idle", choose);
	const byBytes = sortHead("In", "bytes", choose);
	const byRate = sortHead("Rate", "rate", choose);
	const grid = table({
		caption: "Live connections",
		empty: "No connection matches.",
		key: (c) => c.id,
		wide: true,
		columns: [
			{ head: "Client", cell: (td) => {
				const client = h("span", { class: "name" });
				const traced = h("span", { class: "tag" }, "traced");
				td.append(client, traced);
				return (c) => {
					text(client, c.client);
					traced.hidden = !c.traced;
				};
			} },
			{ head: "Listener", kind: "name", value: (c) => c.listener },
			{ head: "Pool", cell: (td) => {
				const a = h("a", { class: "name" });
				td.append(a);
				return (c) => {
					text(a, c.pool);
					attribute(a, "href", link.pool(c.pool));
				};
			} },
			{ head: "Backend", kind: "name full", value: (c) => c.backend || "–" },
			{ head: "State", cell: badgeCell((c) => c.state) },
			{ head: "Age", headNode: byAge, kind: "number", value: (c) => period(c.age) },
			{ head: "Idle", headNode: byIdle, kind: "number", value: (c) => period(c.idle) },
			{ head: "In", headNode: byBytes, kind: "number", value: (c) => bytes(c.bytes_in) },
			{ head: "Out", kind: "number", value: (c) => bytes(c.bytes_out) },
			{ head: "Rate", headNode: byRate, kind: "number", value: (c) => byteRate(c.rate_in + c.rate_out) },
			{ head: "RTT", kind: "number", cell: (td) => (c) => {
				text(td, [c.client_tcp, c.backend_tcp].map((t) => t ? latency(t.rtt) : "–").join(" · "));
				attribute(td, "title", "client · backend");
			} },
			{ head: "Resent", kind: "number", cell: (td) => (c) => {
				text(td, [c.client_tcp, c.backend_tcp].map((t) => t ? count(t.retransmits) : "–").join(" · "));
				attribute(td, "title", "segments retransmitted to the client · to the backend");
			} },
			{ head: "Action", kind: "actions", cell: (td, c) => {
				td.append(h("button", { type: "button", class: "danger-text", "aria-label": "End connection of " + c.client,
					onclick: () => kill({ id: c.id }, `Connection of ${c.client} at listener ${c.listener}.`, load) }, "End…"));
			} },
		],
	});

	let pages = [""]; // After of each page up to this one
	let next = "";
	let timer;
	let request = null;

	function filter() {
		return Object.fromEntries(filters.map((name) => [name, form.elements[name].value.trim()]));
	}

	function choose(by) {
		form.elements.sort.value = by;
		apply();
	}

	// apply shows the first page of what the form says, and keeps it in the address.
	function apply() {
		pages = [""];
		const set = { ...filter(), sort: form.elements.sort.value === "age" ? "" : form.elements.sort.value, limit: form.elements.limit.value === "100" ? "" : form.elements.limit.value };
		history.replaceState(null, "", query("#/connections", set));
		load();
	}

	function endAll() {
		const set = filter();
		const words = filters.filter((name) => set[name]).map((name) => `${name.replace("_", " ")} ${set[name]}`);
		kill(set, words.length > 0 ? "Connections with " + words.join(", ") + "." : "All connections of this proxy.", load);
	}

	async function load() {
		clearTimeout(timer);
		request?.abort();
		const own = new AbortController();
		request = own;
		const began = performance.now();
		try {
			const page = await call("GET", query("/api/v1/connections", { ...filter(), sort: form.elements.sort.value, limit: form.elements.limit.value, after: pages.at(-1) }), { signal: own.signal, background: true });
			if (own.signal.aborted) {
				return;
			}
			show(page);
			problem.hidden = true;
		} catch (err) {
			if (own.signal.aborted) {
				return;
			}
			problem.hidden = false;
			text(problem, describe(err));
			text(summary, "");
		}
		if (live.checked) {
			timer = setTimeout(tick, Math.max(every, 10 * (performance.now() - began)));
		}
	}

	// tick loads again, but not below a dialog, nor in a tab that is hidden.
	function tick() {
		if (document.visibilityState === "visible" && !document.querySelector("dialog[open]")) {
			load();
		} else {
			timer = setTimeout(tick, every);
		}
	}

	function show(page) {
		next = page.next ?? "";
		const all = page.connections ?? [];
		grid.update(all);
		text(summary, page.matched === page.total ? plural(page.total, "live connection") : `${count(page.matched)} of ${plural(page.total, "live connection")} match`);
		back.disabled = pages.length === 1;
		on.disabled = !next;
		text(where, `Page ${pages.length}` + (all.length > 0 ? ` · ${plural(all.length, "connection")}` : ""));
		end.disabled = page.matched === 0;
		clear.hidden = !filters.some((name) => form.elements[name].value);
		for (const head of [byAge, byIdle, byBytes, byRate]) {
			attribute(head.closest("th"), "aria-sort", head.dataset.sort === form.elements.sort.value ? "descending" : "none");
		}
	}

	load();
	return {
		node: h("div", { class: "view" }, h("div", { class: "title" }, heading, summary),
			card("Filter", { class: "filter" }, form, problem),
			card("Live connections", { aside: h("div", { class: "group" }, h("label", { class: "check" }, live, " Refresh"), clear, end) }, grid.node,
				h("div", { class: "pager" }, back, where, on))),
		title: "Connections",
		heading,
		update() {},
		destroy() {
			clearTimeout(timer);
			request?.abort();
		},
	};
}
