// Charts of the last minutes, drawn by uPlot. Colors are those of the style sheet.

import uPlot from "./uplot/uPlot.esm.js";
import { h } from "./dom.js";
import { brief } from "./format.js";
import { span } from "./series.js";

const probe = h("i", { class: "hidden" });
const colors = new Map();

// color is the value of a custom property in the present theme.
function color(name) {
	if (!colors.has(name)) {
		document.body.append(probe);
		probe.style.color = `var(${name})`;
		colors.set(name, getComputedStyle(probe).color);
		probe.remove();
	}
	return colors.get(name);
}

// faded is a color with less opacity.
function faded(value, opacity) {
	return value.replace(/^rgb\((.*)\)$/, `rgba($1, ${opacity})`);
}

const live = new Set();

// restyle draws all charts again, in the colors of the present theme.
export function restyle() {
	colors.clear();
	for (const chart of live) {
		chart.redraw(false);
	}
}

// round is the least round number that is not less than value.
function round(value, least) {
	if (!(value > least)) {
		return least;
	}
	const power = 10 ** Math.floor(Math.log10(value));
	return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

// chart makes a chart of lines over the same times. Options:
//   label   what it shows, for screen readers
//   lines   [{key, color}]: keys of the Series; the area below the first line is filled
//   format  of a value at the axis; without it, there is no axis
//   least   of the highest value of the scale
//   height  in pixels
//   onhover called with an index, or null
export function chart({ label, lines, format, least = 1, height = 64, onhover }) {
	const node = h("div", { class: "chart", role: "img", "aria-label": label });
	let u = null;
	let visible = true; // until the observer says otherwise
	let shown = null; // the time of the last value that is drawn
	let series = null;

	const options = (width) => ({
		width,
		height,
		pxAlign: false,
		legend: { show: false },
		cursor: { show: Boolean(onhover), y: false, drag: { x: false, y: false, setScale: false }, points: { size: 5 } },
		padding: format ? [7, 2, 7, 0] : [2, 0, 2, 0],
		scales: {
			x: { time: true, range: (_, __, max) => [max - span, max] },
			y: { range: (_, __, max) => [0, round(max ?? 0, least)] },
		},
		axes: [
			{ show: false },
			{
				show: Boolean(format),
				size: 46,
				gap: 6,
				font: "11px Inter, system-ui, sans-serif",
				stroke: () => color("--muted"),
				splits: (_, __, min, max) => [min, max / 2, max],
				values: (_, splits) => splits.map((value, i) => i === 1 ? "" : brief(format)(value)),
				ticks: { show: false },
				grid: { stroke: () => color("--grid"), width: 1 },
			},
		],
		series: [
			{},
			...lines.map((line, i) => ({
				stroke: () => color(line.color),
				fill: i === 0 ? () => faded(color(line.color), 0.12) : undefined,
				width: 1.5,
				points: { show: false },
			})),
		],
		hooks: { setCursor: [(self) => onhover?.(self.cursor.idx ?? null)] },
	});

	const draw = () => {
		if (!series || !visible || series.last?.seconds === shown) {
			return;
		}
		const width = Math.floor(node.clientWidth);
		if (width < 10) {
			return;
		}
		shown = series.last?.seconds;
		const data = [series.times.slice(), ...lines.map((line) => series.get(line.key))];
		if (u) {
			u.setData(data);
		} else {
			u = new uPlot(options(width), data, node);
			live.add(u);
		}
	};
	const resized = new ResizeObserver(() => {
		const width = Math.floor(node.clientWidth);
		if (u && width >= 10) {
			u.setSize({ width, height });
		}
		draw();
	});
	resized.observe(node);
	const seen = new IntersectionObserver((entries) => {
		visible = entries.at(-1).isIntersecting;
		draw();
	});
	seen.observe(node);

	return {
		node,
		// update draws what is new. A chart that is out of sight is drawn when it is seen.
		update(all) {
			series = all;
			draw();
		},
		destroy() {
			resized.disconnect();
			seen.disconnect();
			if (u) {
				live.delete(u);
				u.destroy();
			}
		},
	};
}
