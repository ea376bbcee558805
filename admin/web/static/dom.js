// Elements. Text is always set as text: no name or error that the API reports is parsed as HTML.

// h makes an element. Properties that begin with "on" are listeners; false, null and undefined
// leave an attribute out. Children are nodes or text.
export function h(tag, props, ...children) {
	const node = document.createElement(tag);
	for (const [name, value] of Object.entries(props ?? {})) {
		if (value === false || value === null || value === undefined) {
			continue;
		}
		if (name.startsWith("on")) {
			node.addEventListener(name.slice(2), value);
		} else {
			node.setAttribute(name === "class" ? "class" : name, value === true ? "" : value);
		}
	}
	node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
	return node;
}

const svgNamespace = "http://www.w3.org/2000/svg";

const icons = {
	ok: "M4 10.5l4 4 8-9",
	error: "M10 2.5a7.5 7.5 0 100 15 7.5 7.5 0 000-15zM10 6v5M10 13.8v.2",
	warn: "M10 3L2 17h16zM10 8v4M10 14.4v.2",
	info: "M10 2.5a7.5 7.5 0 100 15 7.5 7.5 0 000-15zM10 9.4v4.4M10 6.3v.2",
	sun: "M10 6.5a3.5 3.5 0 100 7 3.5 3.5 0 000-7zM10 1.8v1.6M10 16.6v1.6M1.8 10h1.6M16.6 10h1.6M4.2 4.2l1.1 1.1M14.7 14.7l1.1 1.1M15.8 4.2l-1.1 1.1M5.3 14.7l-1.1 1.1",
	moon: "M16.5 12.2A7 7 0 017.8 3.5a7 7 0 108.7 8.7z",
	auto: "M10 3a7 7 0 100 14 7 7 0 000-14zM10 3v14M10 6.5h5.5M10 10h7M10 13.5h5.5",
	arrow: "M4 10h12M11 5l5 5-5 5",
};

// icon makes a picture that says nothing to a screen reader.
export function icon(name) {
	const svg = document.createElementNS(svgNamespace, "svg");
	svg.setAttribute("viewBox", "0 0 20 20");
	svg.setAttribute("class", "glyph");
	svg.setAttribute("aria-hidden", "true");
	const path = document.createElementNS(svgNamespace, "path");
	path.setAttribute("d", icons[name]);
	svg.append(path);
	return svg;
}

// text sets the text of a node, if it is another one: a selection survives, and live regions are
// silent.
export function text(node, value) {
	const now = String(value);
	if (node.textContent !== now) {
		node.textContent = now;
	}
	return node;
}

// attribute sets an attribute, if it has another value; null removes it.
export function attribute(node, name, value) {
	if (value === null || value === undefined || value === false) {
		node.removeAttribute(name);
	} else if (node.getAttribute(name) !== String(value)) {
		node.setAttribute(name, value);
	}
}

// keyed keeps the children of parent in step with items. Nodes of items with the same key are kept,
// and so are focus and selection. create returns {node, update, destroy}; the last two are optional.
export function keyed(parent, create) {
	let live = new Map();
	return {
		update(items, key) {
			const next = new Map();
			for (const item of items) {
				let name = key(item);
				while (next.has(name)) { // two of the same name are two
					name += "\u0000";
				}
				const entry = live.get(name) ?? create(item);
				live.delete(name);
				next.set(name, entry);
				entry.update?.(item);
			}
			for (const entry of live.values()) {
				entry.destroy?.();
				entry.node.remove();
			}
			let at = parent.firstChild;
			for (const entry of next.values()) {
				if (entry.node === at) {
					at = at.nextSibling;
				} else {
					parent.insertBefore(entry.node, at);
				}
			}
			live = next;
		},
		destroy() {
			for (const entry of live.values()) {
				entry.destroy?.();
			}
			live.clear();
		},
	};
}

// field is a label with its control.
export function field(label, control, props = {}) {
	return h("label", { class: "field", ...props }, h("span", { class: "label" }, label), control);
}

// select makes a select of [value, label] pairs.
export function select(name, pairs, props = {}) {
	return h("select", { name, ...props }, pairs.map(([value, label]) => h("option", { value }, label)));
}
