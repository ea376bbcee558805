// A figure with its chart.

import { chart } from "../charts.js";
import { h, text } from "../dom.js";
import { clock } from "../format.js";

// tile makes one. Options beside those of chart:
//   lines  may have a name and a class, for the legend
//   value(read, state), the figure; read(key) is a value of the Series, now or where the pointer is
//   note(state), a line below
export function tile(title, { lines, format, least, value, note }) {
	const figure = h("p", { class: "figure" });
	const small = h("p", { class: "note" });
	let hovered = null;
	let state = null;
	const picture = chart({
		label: title + ", the last 5 minutes",
		lines,
		format,
		least,
		height: 84,
		onhover: (at) => { hovered = at; show(); },
	});
	function show() {
		if (!state) {
			return;
		}
		const at = hovered === null ? null : state.series.times[hovered];
		const read = (key) => at ? state.series.get(key)[hovered] : state.series.now(key);
		text(figure, value(read, state));
		text(small, at ? "at " + clock(at * 1000) : note(state));
	}
	return {
		node: h("div", { class: "tile" }, h("h2", {}, title, lines.length > 1 ? h("span", { class: "legend" }, lines.map((l) => h("span", { class: l.class }, l.name))) : null), figure, small, picture.node),
		update(now) {
			state = now;
			picture.update(now.series);
			show();
		},
		destroy: picture.destroy,
	};
}

// tilesOf is a row of them.
export function tilesOf(all) {
	return {
		node: h("section", { class: "tiles", "aria-label": "Live figures" }, all.map((t) => t.node)),
		update: (state) => all.forEach((t) => t.update(state)),
		destroy: () => all.forEach((t) => t.destroy()),
	};
}
