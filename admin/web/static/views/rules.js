// The rules of all access control lists, with what they have counted.

import { attribute, h, text } from "../dom.js";
import { count, period } from "../format.js";
import { secondsSince } from "../store.js";
import { table } from "../table.js";
import { badgeCell, card, countCell, link } from "./parts.js";

// rules is a card that is hidden while no listener has a list.
export function rules() {
	const grid = table({
		caption: "Rules",
		empty: "No listener has an access control list.",
		key: (r) => r.listener + " " + r.name,
		columns: [
			{ head: "Rule", cell: nameCell },
			{ head: "Listener", cell: listenerCell },
			{ head: "Action", cell: badgeCell((r) => r.shadow ? r.action + ", shadow" : r.action) },
			{ head: "Prefixes", kind: "number", cell: countCell((r) => r.prefixes) },
			{ head: "Hits", kind: "number", cell: countCell((r) => r.hits) },
			{ head: "Last hit", kind: "number", value: (r) => r.last_hit ? period(secondsSince(r.last_hit)) + " ago" : "–" },
		],
	});
	const node = card("Rules", {}, grid.node);
	return {
		...grid,
		node,
		update(s) {
			const all = s.status.listeners.flatMap((l) => (l.rules ?? []).map((r) => ({ ...r, listener: l.name })));
			node.hidden = all.length === 0;
			grid.update(all);
		},
	};
}

function nameCell(td) {
	const name = h("span", { class: "name" });
	const clients = h("span", { class: "sub" });
	td.append(name, clients);
	return (r) => {
		text(name, r.name);
		text(clients, r.clients);
	};
}

function listenerCell(td) {
	const a = h("a", { class: "name" });
	td.append(a);
	return (r) => {
		text(a, r.listener);
		attribute(a, "href", link.connections({ listener: r.listener }));
	};
}
