// Questions before something that changes, and short messages after it.

import { describe, onToken } from "./api.js";
import { h, text } from "./dom.js";

// dialog shows a modal dialog with some content and buttons. action is what the main button does;
// it may fail, and then the dialog stays open with the error. It resolves to what action returned,
// or to undefined if the user gave up.
export function dialog({ title, content, label, danger = false, action, cancel = "Cancel", prepare }) {
	return new Promise((resolve) => {
		const problem = h("p", { class: "problem error", role: "alert", hidden: true });
		const main = h("button", { type: "submit", class: danger ? "danger" : "primary" }, label);
		const give = h("button", { type: "button", class: "plain", onclick: () => box.close() }, cancel);
		const heading = h("h2", { id: "dialog-title" }, title);
		let result;
		const form = h("form", {
			novalidate: true,
			onsubmit: async (event) => {
				event.preventDefault(); // CSP forbids forms to be sent anyway
				if (main.disabled || !form.reportValidity()) {
					return;
				}
				main.disabled = true;
				problem.hidden = true;
				try {
					result = await action(new FormData(form));
					box.close();
				} catch (err) {
					problem.hidden = false;
					text(problem, describe(err));
					main.disabled = false;
				}
			},
		}, heading, h("div", { class: "body" }, content), problem, h("div", { class: "buttons" }, give, main));
		const box = h("dialog", { "aria-labelledby": "dialog-title", onclose: () => { box.remove(); resolve(result); } }, form);
		document.body.append(box);
		box.showModal();
		prepare?.({ main, problem, form });
	});
}

// toast shows a short message for some seconds.
export function toast(message, tone = "ok") {
	const note = h("p", { class: "toast " + tone }, message);
	const all = document.getElementById("toasts");
	all.append(note);
	while (all.children.length > 3) {
		all.firstChild.remove();
	}
	setTimeout(() => note.remove(), 8000);
}

// attempt runs a command, and says how it went.
export async function attempt(run, done) {
	try {
		const result = await run();
		toast(typeof done === "function" ? done(result) : done);
		return result;
	} catch (err) {
		toast(describe(err), "error");
		return undefined;
	}
}

onToken(async (problem) => {
	const token = h("input", { type: "password", name: "token", required: true, autocomplete: "current-password", "aria-describedby": "token-note" });
	return await dialog({
		title: "Token required",
		label: "Continue",
		content: [
			problem ? h("p", { class: "problem error", role: "alert" }, problem) : null,
			// Password managers keep a name with a password.
			h("input", { type: "text", name: "username", autocomplete: "username", value: "l4proxy", hidden: true }),
			h("label", { class: "field" }, h("span", { class: "label" }, "Token of admin.token"), token),
			h("p", { class: "note", id: "token-note" }, "It is kept for this tab only, until the tab is closed."),
		],
		action: (form) => form.get("token").trim(),
	}) ?? "";
});
