// What an operator can do to backends and connections, each behind a question where it breaks
// something.

import { call, describe, query, setBackend } from "./api.js";
import { attempt, dialog, toast } from "./dialog.js";
import { field, h, select, text } from "./dom.js";
import { count, plural } from "./format.js";
import { command, refresh, state } from "./store.js";

const timeouts = [["", "never: let them end by themselves"], ["30s", "after 30 seconds"], ["5m0s", "after 5 minutes"], ["30m0s", "after 30 minutes"]];

const usable = new Set(["up", "unknown"]);

// isLast reports whether no other backend of the pool could take clients.
function isLast(pool, backend) {
	const all = state.status?.pools.find((p) => p.name === pool)?.backends ?? [];
	return !all.some((b) => b.address !== backend.address && usable.has(b.state));
}

async function change(pool, address, body) {
	const result = await setBackend(pool, address, body);
	await refresh();
	return result;
}

// drain asks, and then lets the connections of a backend end.
export function drain(pool, backend) {
	return takeOut(pool, backend, {
		title: "Drain backend",
		label: "Drain",
		state: "drain",
		note: `It gets no new clients. Its ${plural(backend.connections, "connection")} stay open until they end.`,
		extra: field("Close connections that are left", select("timeout", timeouts)),
		done: "is draining",
	});
}

// down asks, and then takes a backend out of service.
export function down(pool, backend) {
	return takeOut(pool, backend, {
		title: "Set backend down",
		label: "Set down",
		danger: true,
		state: "down",
		note: `It gets no new clients, and on_down of the pool applies to its ${plural(backend.connections, "connection")}.`,
		done: "is down",
	});
}

async function takeOut(pool, backend, { title, label, danger, state: to, note, extra, done }) {
	const answer = await dialog({
		title,
		label,
		danger,
		content: [
			h("p", {}, h("strong", { class: "name" }, backend.address), " of pool ", h("strong", { class: "name" }, pool)),
			h("p", {}, note),
			isLast(pool, backend) ? h("p", { class: "problem warn" }, "No other backend of this pool can take clients now.") : null,
			extra,
		],
		action: (form) => change(pool, backend.address, { state: to, ...(form.get("timeout") ? { timeout: form.get("timeout") } : {}) }),
	});
	if (answer) {
		toast(`${backend.address} ${done}. ${survival(answer)}`);
	}
}

// restore puts a backend back into service.
export function restore(pool, backend) {
	return attempt(() => change(pool, backend.address, { state: "up" }), `${backend.address} is back in service.`);
}

// weigh asks for a weight.
export async function weigh(pool, backend) {
	const configured = backend.configured_weight;
	const input = h("input", { type: "number", name: "weight", min: 1, max: 1000, step: 1, required: true, value: backend.weight, inputmode: "numeric" });
	const back = h("input", { type: "checkbox", name: "configured", onchange: () => { input.disabled = back.checked; } });
	const answer = await dialog({
		title: "Change weight",
		label: "Change",
		content: [
			h("p", {}, h("strong", { class: "name" }, backend.address), " of pool ", h("strong", { class: "name" }, pool)),
			field("Weight, from 1 to 1000", input),
			configured && configured !== backend.weight ? h("label", { class: "check" }, back, ` Return to the configured weight, ${configured}`) : null,
			h("p", { class: "note" }, "Clients are spread in proportion to the weights. The file is not changed."),
		],
		action: (form) => change(pool, backend.address, { weight: form.get("configured") ? "config" : Number(form.get("weight")) }),
		prepare: () => input.select(),
	});
	if (answer) {
		toast(`${backend.address} has a new weight. ${survival(answer)}`);
	}
}

// survival says what a change by a command survives.
function survival(answer) {
	return answer.survives ? `It survives: ${answer.survives.join(", ") || "nothing"}.` : "";
}

const rates = [["", "all at once"], ["10/s", "10 per second"], ["50/s", "50 per second"], ["200/s", "200 per second"]];

// kill counts the connections that a filter selects, asks, and then ends them. what says in words
// which these are.
export async function kill(filter, what, done) {
	const request = { ...filter, all: Object.values(filter).some(Boolean) ? "" : "true" };
	const path = (extra) => query("/api/v1/connections", { ...request, ...extra });
	const number = h("p", { class: "figure" }, "Counting…");
	const sample = h("p", { class: "note name" });
	const sure = h("input", { type: "checkbox", required: true });
	const pace = filter.id ? null : field("Pace", select("rate", rates));
	const answer = await dialog({
		title: filter.id ? "End connection" : "End connections",
		label: "End",
		danger: true,
		content: [
			h("p", {}, what),
			number,
			sample,
			pace,
			request.all ? h("label", { class: "check" }, sure, " Yes, all connections of this proxy") : null,
		],
		async prepare({ main, problem }) {
			main.disabled = true;
			try {
				const found = await call("DELETE", path({ dry_run: "true" }));
				text(number, found.matched === 1 ? "1 connection matches." : `${count(found.matched)} connections match.`);
				text(sample, (found.sample ?? []).slice(0, 3).map((c) => c.client).join(", ") + (found.matched > 3 ? ", …" : ""));
				text(main, found.matched === 0 ? "Nothing to end" : "End " + plural(found.matched, "connection"));
				main.disabled = found.matched === 0;
			} catch (err) {
				text(number, "");
				problem.hidden = false;
				text(problem, describe(err));
			}
		},
		action: (form) => command("DELETE", path({ rate: form.get("rate") ?? "" })),
	});
	if (answer) {
		const later = answer.matched - answer.killed;
		toast(later > 0
			? `${plural(answer.killed, "connection")} ended; ${count(later)} follow in ${Math.ceil(answer.seconds)}s.`
			: `${plural(answer.killed, "connection")} ended.`);
		done?.();
	}
}
