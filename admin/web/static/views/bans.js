// The banned addresses: filter, page, add, remove.

import { call, describe, query } from "../api.js";
import { dialog, toast } from "../dialog.js";
import { field, h, select, text } from "../dom.js";
import { count, period, plural } from "../format.js";
import { command } from "../store.js";
import { table } from "../table.js";
import { card } from "./parts.js";

export const name = "bans";

const every = 5000;
const filters = ["from", "reason", "source"];
const durations = [["10m", "10 minutes"], ["1h", "1 hour"], ["24h", "1 day"], ["168h", "1 week"], ["", "until it is removed"]];

// survival says what a change survives, and what an operator should know.
function survival(answer) {
	return [`It survives: ${answer.survives.join(", ")}.`, ...(answer.warnings ?? []).map((w) => `Warning: ${w}.`)].join(" ");
}

// ban asks for a prefix, and then bans it.
async function ban(done) {
	const prefix = h("input", { type: "text", name: "prefix", required: true, autocomplete: "off", spellcheck: "false", placeholder: "203.0.113.0/24" });
	const sure = h("input", { type: "checkbox", name: "confirm" });
	const warning = h("div", { class: "problem warn", role: "alert", hidden: true });
	let asked = "";
	const answer = await dialog({
		title: "Ban clients",
		label: "Ban",
		danger: true,
		content: [
			field("Address or prefix", prefix),
			field("For", select("for", durations)),
			field("Reason", h("input", { type: "text", name: "reason", autocomplete: "off", maxlength: 256 })),
			h("label", { class: "check" }, h("input", { type: "checkbox", name: "kill" }), " End their live connections"),
			warning,
			h("p", { class: "note" }, "A ban applies to all listeners, before their access control lists."),
		],
		async action(form) {
			const body = { prefix: form.get("prefix").trim() };
			for (const key of ["for", "reason"]) {
				if (form.get(key)) {
					body[key] = form.get(key);
				}
			}
			if (form.get("kill")) {
				body.kill = true;
			}
			if (asked !== body.prefix || !form.get("confirm")) {
				const would = await command("PUT", "/api/v1/bans", { body: { ...body, dry_run: true } });
				if (would.warnings.length > 0) {
					asked = body.prefix;
					sure.checked = false;
					warning.replaceChildren(...would.warnings.map((w) => h("p", {}, w + ".")), h("label", { class: "check" }, sure, " Yes, ban it"));
					warning.hidden = false;
					throw new Error("Confirm that this is meant.");
				}
			}
			return command("PUT", "/api/v1/bans", { body: { ...body, confirm: true } });
		},
		prepare: () => prefix.focus(),
	});
	if (answer) {
		toast(answer.kept > 0 ? "It is banned already, by another source and for longer." : `Banned. ${survival(answer)}`);
		done();
	}
}

// unban asks, and then removes a ban.
async function unban(b, done) {
	const answer = await dialog({
		title: "Remove ban",
		label: "Remove",
		danger: true,
		content: [
			h("p", {}, h("strong", { class: "name" }, b.prefix), b.reason ? ": " + b.reason : ""),
			h("p", {}, "Its clients may connect again, if the access control lists allow them."),
		],
		action: () => command("DELETE", query("/api/v1/bans", { prefix: b.prefix })),
	});
	if (answer) {
		toast(`The ban of ${b.prefix} is removed.`);
		done();
	}
}

// create makes the view. parameters are those of its address.
export function create(parameters) {
	const input = (name, props) => h("input", { name, type: "text", autocomplete: "off", spellcheck: "false", value: parameters.get(name) ?? "", ...props });
	const form = h("form", { class: "filters", role: "search", "aria-label": "Filter", onsubmit: (e) => { e.preventDefault(); apply(); }, onchange: () => apply() },
		field("Address", input("from", { placeholder: "203.0.113.7" })),
		field("Reason", input("reason", { placeholder: "part of it" })),
		field("Source", input("source", { placeholder: "operator" })));
	const summary = h("p", { class: "facts", role: "status" }, "Loading…");
	const problem = h("p", { class: "problem error", role: "alert", hidden: true });
	const unsaved = h("p", { class: "problem warn", hidden: true });
	const heading = h("h1", { tabindex: "-1" }, "Bans");
	const add = h("button", { type: "button", class: "danger-text", onclick: () => ban(load) }, "Ban…");
	const back = h("button", { type: "button", class: "plain", onclick: () => { pages.pop(); load(); } }, "Previous");
	const on = h("button", { type: "button", class: "plain", onclick: () => { pages.push(next); load(); } }, "Next");
	const where = h("span", { class: "note" });
	const grid = table({
		caption: "Banned addresses",
		empty: "No ban.",
		key: (b) => b.prefix,
		columns: [
			{ head: "Prefix", kind: "name", value: (b) => b.prefix },
			{ head: "Ends in", kind: "number", value: (b) => b.until ? period(b.left) : "never" },
			{ head: "Age", kind: "number", value: (b) => period((Date.now() - Date.parse(b.since)) / 1000) },
			{ head: "Client sees", value: (b) => b.with },
			{ head: "Source", kind: "name", value: (b) => b.source },
			{ head: "Reason", kind: "name full", value: (b) => b.reason || "–" },
			{ head: "Action", kind: "actions", cell: (td, b) => {
				td.append(h("button", { type: "button", class: "danger-text", "aria-label": "Remove the ban of " + b.prefix, onclick: () => unban(b, load) }, "Remove…"));
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

	// apply shows the first page of what the form says, and keeps it in the address.
	function apply() {
		pages = [""];
		history.replaceState(null, "", query("#/bans", filter()));
		load();
	}

	async function load() {
		clearTimeout(timer);
		request?.abort();
		const own = new AbortController();
		request = own;
		try {
			const page = await call("GET", query("/api/v1/bans", { ...filter(), after: pages.at(-1) }), { signal: own.signal, background: true });
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
		timer = setTimeout(tick, every);
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
		const all = page.bans ?? [];
		grid.update(all);
		text(summary, page.matched === page.total ? plural(page.total, "ban") : `${count(page.matched)} of ${plural(page.total, "ban")} match`);
		unsaved.hidden = page.survives.includes("restart");
		text(unsaved, page.error ? `Not saved: a restart loses the latest changes. ${page.error}` : "Not saved: a restart loses them. bans.file in the configuration saves them.");
		back.disabled = pages.length === 1;
		on.disabled = !next;
		text(where, `Page ${pages.length}` + (all.length > 0 ? ` · ${plural(all.length, "ban")}` : ""));
	}

	load();
	return {
		node: h("div", { class: "view" }, h("div", { class: "title" }, heading, summary),
			card("Filter", { class: "filter" }, form, problem),
			card("Banned addresses", { aside: h("div", { class: "group" }, add) }, unsaved, grid.node,
				h("div", { class: "pager" }, back, where, on))),
		title: "Bans",
		heading,
		update() {},
		destroy() {
			clearTimeout(timer);
			request?.abort();
		},
	};
}
