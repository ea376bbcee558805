// Parts that several views show.

import { attribute, h, icon, keyed, text } from "../dom.js";
import { clock, count, exact, moment } from "../format.js";

// link is the address of a view.
export const link = {
	pool: (name) => "#/pool/" + encodeURIComponent(name),
	connections: (filter) => "#/connections?" + new URLSearchParams(filter),
};

// tones are the colors of states; others are calm.
const tones = {
	open: "good", up: "good", serving: "good", "in effect": "good",
	draining: "info", drain: "info", reloading: "info",
	full: "warn", backoff: "warn", ejected: "warn", queued: "warn", unconfirmed: "warn", "last reload refused": "warn",
	closed: "bad", down: "bad", "not serving": "bad",
};

// badge shows a state as a word with a colored dot.
export function badge() {
	const word = h("span");
	const node = h("span", { class: "badge" }, h("span", { class: "dot" }), word);
	return {
		node,
		update(state, title) {
			text(word, state);
			attribute(node, "class", "badge " + (tones[state] ?? "calm"));
			attribute(node, "title", title || null);
		},
	};
}

// badgeCell is a table cell with the state of an item.
export function badgeCell(state) {
	return (td) => {
		const b = badge();
		td.append(b.node);
		return (item) => b.update(state(item));
	};
}

// countCell is a number with all its digits in a tooltip.
export function countCell(value) {
	return (td) => (item) => {
		const n = value(item);
		text(td, count(n));
		attribute(td, "title", n >= 100000 ? exact(n) : null);
	};
}

// card is a section with a heading.
export function card(title, { class: kind, aside } = {}, ...children) {
	const id = "card-" + title.toLowerCase().replace(/[^a-z]+/g, "-");
	return h("section", { class: "card " + (kind ?? ""), "aria-labelledby": id },
		h("header", {}, h("h2", { id }, title), aside), children);
}

// feed lists events, the latest first.
export function feed({ most = 60, match = () => true } = {}) {
	const list = h("ol", { class: "feed" });
	const none = h("p", { class: "empty" }, "Nothing has happened since this page was opened.");
	const rows = keyed(list, (event) => {
		const about = [];
		if (event.pool) {
			about.push(h("a", { href: link.pool(event.pool) }, event.pool));
		}
		for (const name of [event.backend, event.listener]) {
			if (name) {
				about.push(h("span", { class: "name" }, name));
			}
		}
		const details = Object.entries(event.details ?? {}).slice(0, 12)
			.map(([name, value]) => name + "=" + (typeof value === "object" ? JSON.stringify(value) : value)).join("  ");
		const time = new Date(event.time);
		return {
			node: h("li", { class: event.level },
				h("time", { datetime: event.time, title: moment(time) }, clock(time)),
				h("div", {},
					h("p", { class: "message" }, event.level === "info" ? null : h("span", { class: "level" }, event.level), event.message),
					about.length > 0 ? h("p", { class: "about" }, about) : null,
					details ? h("p", { class: "details" }, details) : null)),
		};
	});
	return {
		node: h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "List of events" }, list, none),
		update(events) {
			const shown = [];
			for (const event of events) {
				if (match(event) && shown.push(event) >= most) {
					break;
				}
			}
			rows.update(shown, (event) => event.id + " " + event.time);
			list.hidden = shown.length === 0;
			none.hidden = shown.length > 0;
		},
	};
}

// problemList shows problems: text with an icon, and a link to what they are about, unless that is
// here.
export function problemList(here) {
	const list = h("ul", { class: "problems" });
	const more = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => { limit += 50; show(); } });
	let limit = 6;
	let all = [];
	const rows = keyed(list, (problem) => {
		const words = h("span", { class: "words" });
		const to = problem.pool ? link.pool(problem.pool) : problem.kind.startsWith("config") || problem.kind.startsWith("reload") ? "#/config" : "";
		const about = to && to !== here ? h("a", { href: to, class: "go", "aria-label": to === "#/config" ? null : "View pool " + problem.pool }, to === "#/config" ? "View configuration" : "View pool", icon("arrow")) : null;
		return {
			node: h("li", { class: problem.level }, icon(problem.level), words, about),
			update: (now) => text(words, now.text),
		};
	});
	function show() {
		rows.update(all.slice(0, limit), (p) => [p.level, p.kind, p.listener, p.pool, p.backend].join("\u0000"));
		more.hidden = all.length <= limit;
		text(more, `Show ${count(Math.min(50, all.length - limit))} more of ${count(all.length - limit)}`);
		list.hidden = all.length === 0;
	}
	return { node: h("div", {}, list, more), update(problems) { all = problems; show(); } };
}
