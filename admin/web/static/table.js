// Tables with captions, for many rows: only the first ones are rendered, the rest on request.

import { attribute, h, keyed, text } from "./dom.js";
import { count } from "./format.js";

const first = 50;
const step = 200;
const most = 1000; // a page with more rows would be slow

// table makes a table. Options:
//   caption  what it lists; it is read out, and shown if show is set
//   columns  [{head, value(item), cell(td) -> update(item), kind}]: text, or a cell that is made
//            once and updated; kind is a class such as "number"
//   key(item), empty, and tone(item), a class of the row
// update takes the items, and how many there are if they are not all here.
export function table({ caption, columns, key, empty, tone, wide }) {
	const body = h("tbody");
	const heads = columns.map((c) => h("th", { scope: "col", class: c.kind }, c.headNode ?? c.head));
	const none = h("p", { class: "empty" }, empty);
	const more = h("button", { type: "button", class: "quiet", onclick: () => { limit = Math.min(limit + step, most); show(); } });
	const rest = h("p", { class: "rest", hidden: true });
	const grid = h("table", { class: wide ? "wide" : null }, h("caption", { class: "hidden" }, caption), h("thead", {}, h("tr", {}, heads)), body);
	const node = h("div", { class: "table" }, grid, none, rest);
	let limit = first;
	let items = [];

	const rows = keyed(body, (item) => {
		const updates = [];
		const cells = columns.map((c, i) => {
			const td = h(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : null, class: c.kind, "data-head": c.head });
			updates.push(c.cell ? c.cell(td, item) : (now) => text(td, c.value(now)));
			return td;
		});
		const tr = h("tr", {}, cells);
		return {
			node: tr,
			update(now) {
				attribute(tr, "class", tone?.(now) || null);
				updates.forEach((update) => update?.(now));
			},
			destroy() {
				updates.forEach((update) => update?.destroy?.());
			},
		};
	});

	function show() {
		rows.update(items.slice(0, limit), key);
		grid.hidden = items.length === 0;
		none.hidden = items.length > 0;
		const left = items.length - limit;
		rest.hidden = left <= 0;
		if (left > 0) {
			const full = limit >= most;
			text(more, `Show ${count(Math.min(step, left))} more of ${count(left)}`);
			rest.replaceChildren(full ? `${count(left)} more are not shown: use the filter.` : more);
		}
	}

	return {
		node,
		heads,
		update(all) {
			items = all;
			show();
		},
		destroy: rows.destroy,
	};
}
