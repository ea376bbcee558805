// The stream of events. EventSource cannot send a token in a header, so the stream is read by
// fetch (WHATWG HTML, section Server-sent events).

import { APIError, open, query } from "./api.js";

const patience = 20000; // without a byte, the stream counts as dead: Stats come every second
const firstWait = 500;
const longestWait = 10000;
const maxMessage = 8 << 20; // characters

// Parser splits a stream into messages.
export class Parser {
	#rest = "";
	#data = [];
	#event = "";

	// push adds a piece of the stream, and returns the messages that it completes.
	push(piece) {
		const lines = (this.#rest + piece).split(/\r\n|\n|\r(?!$)/);
		this.#rest = lines.pop();
		if (this.#rest.length > maxMessage) {
			throw new APIError(0, "a message of the stream is too long");
		}
		const messages = [];
		for (const line of lines) {
			if (line === "") {
				if (this.#data.length > 0) {
					messages.push({ event: this.#event || "message", data: this.#data.join("\n") });
				}
				this.#data = [];
				this.#event = "";
				continue;
			}
			const colon = line.indexOf(":");
			const name = colon < 0 ? line : line.slice(0, colon);
			const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
			if (name === "data") {
				this.#data.push(value);
			} else if (name === "event") {
				this.#event = value;
			}
		}
		return messages;
	}
}

// follow keeps a stream open until signal is aborted. receiver has:
//   before()           is awaited before each attempt, and returns the ID of the last known event
//   message(name, value)
//   state(name, retry) "live", or "waiting" for retry milliseconds, or "refused" with the error
export async function follow(receiver, signal) {
	let wait = firstWait;
	while (!signal.aborted) {
		let problem;
		try {
			await attempt(receiver, signal, () => { wait = firstWait; });
			problem = new APIError(0, "the proxy closed the stream");
		} catch (err) {
			problem = err;
		}
		if (signal.aborted) {
			return;
		}
		const delay = wait * (0.75 + Math.random() / 2); // not all tabs at once
		wait = Math.min(wait * 2, longestWait);
		receiver.state(problem.status > 0 ? "refused" : "waiting", delay, problem);
		await pause(delay, signal);
	}
}

async function attempt(receiver, signal, alive) {
	const after = await receiver.before();
	if (signal.aborted) {
		return;
	}
	const own = new AbortController();
	const stop = () => own.abort();
	signal.addEventListener("abort", stop);
	let timer;
	const heard = () => {
		clearTimeout(timer);
		timer = setTimeout(stop, patience);
	};
	try {
		const path = query("/api/v1/events", { stats: "true", after: after || "" });
		const response = await open("GET", path, { signal: own.signal, accept: "text/event-stream", background: true });
		receiver.state("live");
		heard();
		const parser = new Parser();
		const decoder = new TextDecoder();
		const reader = response.body.getReader();
		for (;;) {
			const { done, value } = await reader.read();
			if (done) {
				return;
			}
			heard();
			for (const message of parser.push(decoder.decode(value, { stream: true }))) {
				alive();
				receiver.message(message.event, JSON.parse(message.data));
			}
		}
	} catch (err) {
		throw err instanceof APIError ? err : new APIError(0, "the connection to the proxy was cut");
	} finally {
		clearTimeout(timer);
		signal.removeEventListener("abort", stop);
		own.abort();
	}
}

// pause ends early if the network or the tab comes back.
function pause(delay, signal) {
	return new Promise((resolve) => {
		const wake = () => {
			if (document.visibilityState === "hidden") {
				return;
			}
			clearTimeout(timer);
			window.removeEventListener("online", wake);
			document.removeEventListener("visibilitychange", wake);
			signal.removeEventListener("abort", wake);
			resolve();
		};
		const timer = setTimeout(() => {
			window.removeEventListener("online", wake);
			document.removeEventListener("visibilitychange", wake);
			signal.removeEventListener("abort", wake);
			resolve();
		}, delay);
		window.addEventListener("online", wake);
		document.addEventListener("visibilitychange", wake);
		signal.addEventListener("abort", wake);
	});
}
