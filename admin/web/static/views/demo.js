// The demo's panel: faults to play with.

import { attempt } from "../dialog.js";
import { attribute, h, keyed, text } from "../dom.js";
import { command } from "../store.js";
import { card } from "./parts.js";

const faults = [
	["none", "Works", "It answers."],
	["stop", "Stop", "It refuses connections."],
	["hang", "Hang", "It accepts connections, and never answers."],
	["slow", "Slow", "It answers late."],
];

// demoPanel shows the backends of the demo; nothing outside a demo.
export function demoPanel() {
	const list = h("ul", { class: "faults" });
	const rows = keyed(list, (backend) => {
		const buttons = faults.map(([fault, label, title]) => h("button", {
			type: "button", title, "aria-label": `${label}: ${backend.name}`, "data-fault": fault,
			onclick: () => attempt(() => command("POST", "/api/v1/demo/" + encodeURIComponent(backend.name), { body: { fault } }), `${backend.name}: ${title}`),
		}, label));
		const address = h("span", { class: "sub" });
		return {
			node: h("li", {}, h("span", {}, h("strong", { class: "name" }, backend.name), address), h("span", { class: "group", role: "group", "aria-label": "Fault of " + backend.name }, buttons)),
			update(now) {
				text(address, now.address);
				buttons.forEach((button) => attribute(button, "aria-pressed", String(button.dataset.fault === now.fault)));
			},
		};
	});
	const node = card("Demo", { class: "demo", aside: h("p", { class: "note" }, "Break a backend, and watch how the proxy works around it.") }, list);
	node.hidden = true;
	return {
		node,
		update(state) {
			node.hidden = !state.status.demo || state.demo.length === 0;
			rows.update(state.demo, (b) => b.name);
		},
	};
}
