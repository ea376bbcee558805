// The configuration in effect: how it differs from the file, what was changed at run time, and the
// last reload.

import { call, describe } from "../api.js";
import { attempt, dialog } from "../dialog.js";
import { h, text } from "../dom.js";
import { count, moment, period, plural } from "../format.js";
import { command, secondsSince } from "../store.js";
import { table } from "../table.js";
import { badge, card } from "./parts.js";

export const name = "config";

const every = 5000; // the file may change, and so may what commands have changed
const firstLines = 1000;
const maxLines = 20000;

// listing shows JSON with numbered lines. It is rendered in pieces: a configuration may have
// 10,000 backends.
function listing() {
	const code = h("code");
	const more = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => { limit = Math.min(limit * 4, maxLines); show(); } });
	const pre = h("pre", { class: "code", tabindex: 0, role: "region", "aria-label": "Configuration in effect" }, code);
	let lines = [];
	let limit = firstLines;
	let shown = "";
	function show() {
		code.replaceChildren(...lines.slice(0, limit).map((line) => h("span", { class: "line" }, colored(line), "\n")));
		more.hidden = lines.length <= limit || limit >= maxLines;
		text(more, `Show more of ${count(lines.length)} lines`);
	}
	return {
		node: h("div", {}, pre, more),
		update(value) {
			const whole = JSON.stringify(value, null, 2) ?? "";
			if (whole !== shown) {
				shown = whole;
				lines = whole.split("\n");
				show();
			}
		},
	};
}

// colored splits a line of JSON into keys, strings and the rest.
function colored(line) {
	const key = /^(\s*)("(?:[^"\\]|\\.)*")(: ?)(.*)$/.exec(line);
	if (key) {
		return [key[1], h("span", { class: "key" }, key[2]), key[3], ...value(key[4])];
	}
	const [, space, rest] = /^(\s*)(.*)$/.exec(line);
	return [space, ...value(rest)];
}

function value(rest) {
	const [, word, end] = /^(.*?)(,?)$/.exec(rest);
	const kind = word.startsWith('"') ? "string" : /^(-?\d|true|false|null)/.test(word) ? "literal" : "";
	return kind ? [h("span", { class: kind }, word), end] : [rest];
}

// changesOf lists what a reload changes.
function changesOf(changes) {
	const most = 200;
	const items = changes.slice(0, most).map((c) => h("li", { class: c.action }, h("span", { class: "sign", "aria-hidden": "true" }, { added: "+", removed: "−" }[c.action] ?? "~"),
		h("span", {}, c.text, c.at_start ? h("span", { class: "tag" }, "at the next start") : null)));
	return [h("ul", { class: "changes" }, items), changes.length > most ? h("p", { class: "note" }, `${count(changes.length - most)} more`) : null];
}

// create makes the view.
export function create() {
	const heading = h("h1", { tabindex: "-1" }, "Configuration");
	const state = badge();
	const facts = h("dl", { class: "pairs" });
	const failure = h("div", { class: "problem error", hidden: true });
	const trial = h("div", { class: "problem warn", hidden: true });
	const pending = h("div", {}, h("p", { class: "empty" }, "Loading…"));
	const outcome = h("div", { class: "outcome", role: "status" });
	const problem = h("p", { class: "problem error", role: "alert", hidden: true });
	const code = listing();
	const button = (label, run, kind = "plain") => h("button", { type: "button", class: kind, onclick: run }, label);
	const runtime = table({
		caption: "Changes by commands",
		empty: "No command has changed anything: the proxy runs as configured.",
		key: (c) => [c.kind, c.listener, c.pool, c.backend, c.text].join("\u0000"),
		columns: [
			{ head: "Change", kind: "grow", value: (c) => c.text },
			{ head: "Configured", value: (c) => c.configured || "–" },
			{ head: "Now", value: (c) => c.now },
			{ head: "Since", value: (c) => period(secondsSince(c.since)) + " ago" },
			{ head: "Until", value: (c) => c.until ? moment(new Date(c.until)) : "–" },
			{ head: "Survives", value: (c) => c.survives?.length ? c.survives.join(", ") : "nothing" },
		],
	});

	let timer;
	let left = false;

	async function load() {
		clearTimeout(timer);
		const began = performance.now();
		try {
			const config = await call("GET", "/api/v1/config", { background: true });
			problem.hidden = true;
			code.update(config.config);
			runtime.update(config.runtime ?? []);
			if (config.pending_error) {
				pending.replaceChildren(h("p", {}, "A reload would be refused:"), h("pre", { class: "problem error" }, config.pending_error));
			} else if (!config.pending?.length) {
				pending.replaceChildren(h("p", { class: "empty" }, "The file matches what is in effect."));
			} else {
				pending.replaceChildren(h("p", {}, `A reload would make ${plural(config.pending.length, "change")}:`), ...changesOf(config.pending).filter(Boolean));
			}
		} catch (err) {
			problem.hidden = false;
			text(problem, describe(err));
			pending.replaceChildren();
		}
		if (!left) {
			clearTimeout(timer);
			timer = setTimeout(tick, Math.max(every, 10 * (performance.now() - began)));
		}
	}

	// tick loads again, but not in a tab that is hidden.
	function tick() {
		if (document.visibilityState === "visible") {
			load();
		} else {
			timer = setTimeout(tick, every);
		}
	}

	function report(title, tone, ...content) {
		outcome.replaceChildren(h("div", { class: "problem " + tone }, h("p", {}, h("strong", {}, title)), ...content));
	}

	function reported(result) {
		const title = result.dry_run
			? (result.changes?.length ? `A reload would make ${plural(result.changes.length, "change")}.` : "A reload would change nothing.")
			: (result.changes?.length ? `Reloaded: ${plural(result.changes.length, "change")}, generation ${result.generation}.` : "Reloaded: no changes.");
		report(title, "ok", ...changesOf(result.changes ?? []).filter(Boolean), ...(result.warnings ?? []).map((w) => h("p", {}, "Warning: " + w)));
		load();
	}

	async function dryRun() {
		try {
			reported(await call("POST", "/api/v1/reload", { body: { dry_run: true } }));
		} catch (err) {
			refused("A reload would be refused", err);
		}
	}

	async function reload() {
		const trialTime = h("select", { name: "confirm" }, [["", "for good"], ["1m0s", "for 1 minute, unless kept"], ["5m0s", "for 5 minutes, unless kept"]].map(([v, l]) => h("option", { value: v }, l)));
		const guard = h("input", { type: "checkbox", name: "guard" });
		let failed;
		const result = await dialog({
			title: "Reload the configuration",
			label: "Reload",
			content: [
				h("p", {}, "The proxy reads the file again. If the file has problems, it is refused and the running configuration stays in effect."),
				h("label", { class: "field" }, h("span", { class: "label" }, "Apply it"), trialTime),
				h("label", { class: "check" }, guard, " Roll back if clients are served worse than before"),
			],
			action: async (form) => {
				try {
					return await command("POST", "/api/v1/reload", { body: { ...(form.get("confirm") ? { confirm: form.get("confirm") } : {}), ...(form.get("guard") ? { guard: true } : {}) } });
				} catch (err) { // the page has more room for it
					failed = err;
					return undefined;
				}
			},
		});
		if (failed) {
			refused("The reload was refused", failed);
			load();
		} else if (result) {
			reported(result);
		}
	}

	function refused(title, err) {
		report(title, "error", h("pre", {}, err.message), err.hint ? h("p", {}, err.hint) : "");
	}

	const keep = button("Keep", () => attempt(() => command("POST", "/api/v1/reload/keep", { body: {} }), "The configuration is kept."), "primary");
	const back = button("Roll back", () => attempt(() => command("POST", "/api/v1/reload/rollback", { body: {} }), "Rolled back.").then(load), "danger");
	const until = h("p");
	trial.append(until, h("div", { class: "group" }, keep, back));
	const failedAt = h("p");
	const failedText = h("pre");
	failure.append(failedAt, failedText);

	let generation = null;
	load();
	return {
		node: h("div", { class: "view" },
			h("div", { class: "title" }, heading, state.node),
			failure, trial, problem,
			h("div", { class: "columns even" },
				h("div", { class: "stack" },
					card("In effect", { aside: h("div", { class: "group" }, button("Dry run", dryRun), button("Reload…", reload, "primary")) }, facts, outcome),
					card("Differences from the file", { aside: button("Compare again", load, "quiet") }, pending),
					card("Changed at run time", {}, runtime.node)),
				card("Active configuration", { class: "listing" }, code.node))),
		title: "Configuration",
		heading,
		update(all) {
			if (!all.status) {
				return;
			}
			const c = all.status.config;
			if (generation !== null && generation !== c.generation) {
				load();
			}
			generation = c.generation;
			state.update(c.reloading ? "reloading" : c.unconfirmed ? "unconfirmed" : c.last_ok ? "in effect" : "last reload refused");
			const rows = [
				["File", c.file || "none: from the environment"],
				["Generation", c.generation],
				["In effect since", `${moment(new Date(c.applied_at))} (${period(secondsSince(c.applied_at))})`],
				["Last reload", c.last_failure && !c.last_ok ? "refused" : c.last_success ? `succeeded ${period(secondsSince(c.last_success))} ago` : "none yet"],
				["Watched files", c.watching ? "reloaded when they change" : "not watched"],
				...(c.blocked ? [["Blocked", c.blocked]] : []),
				...(c.last_rollback ? [["Last rollback", `of generation ${c.last_rollback.from}: ${c.last_rollback.reason}`]] : []),
			];
			if (facts.children.length !== rows.length) {
				facts.replaceChildren(...rows.map(() => h("div", {}, h("dt"), h("dd"))));
			}
			rows.forEach(([label, words], i) => {
				text(facts.children[i].firstChild, label);
				text(facts.children[i].lastChild, words);
			});
			failure.hidden = c.last_ok || !c.last_failure;
			if (c.last_failure) {
				text(failedAt, `The last reload, ${period(secondsSince(c.last_failure.at))} ago, was refused. Generation ${c.generation} stays in effect.`);
				text(failedText, c.last_failure.error);
			}
			trial.hidden = !c.unconfirmed;
			if (c.unconfirmed) {
				const left = period(-secondsSince(c.unconfirmed.until));
				text(until, c.unconfirmed.keep_after ? `This configuration is on trial. It is kept in ${left}.` : `This configuration is on trial. It is rolled back to generation ${c.unconfirmed.rolls_back_to} in ${left}.`);
			}
		},
		destroy() {
			left = true;
			clearTimeout(timer);
		},
	};
}
