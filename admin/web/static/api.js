// Requests to the API. The token, if one is needed, is asked for once per tab, and travels in a
// header only.

const storage = "l4proxy-token";

let memory = ""; // of a browser without storage
let asking = null;
let declined = false; // the user has not given the token; requests of the page itself do not ask again
let ask = async () => "";

// onToken sets what asks the user for the token. It gets what the API said, and resolves to "" if
// the user gives up.
export function onToken(f) {
	ask = f;
}

function token() {
	try {
		return sessionStorage.getItem(storage) ?? memory;
	} catch {
		return memory;
	}
}

function keep(value) {
	memory = value;
	try {
		sessionStorage.setItem(storage, value);
	} catch {
		// It lasts until the page is left.
	}
}

// APIError is an answer that is not a success. Its status is 0 if there was no answer.
export class APIError extends Error {
	constructor(status, message, hint = "") {
		super(message);
		this.status = status;
		this.hint = hint;
	}
}

// open sends a request, and returns the response if it is a success. On 401, it asks for the token
// and tries again. A request in the background does not ask a user who has declined.
export async function open(method, path, { body, signal, accept, background } = {}) {
	for (;;) {
		const used = token();
		const headers = { Accept: accept ?? "application/json" };
		if (used) {
			headers.Authorization = "Bearer " + used;
		}
		if (body !== undefined) {
			headers["Content-Type"] = "application/json";
		}
		let response;
		try {
			response = await fetch(path, {
				method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
			});
		} catch (err) {
			if (signal?.aborted) {
				throw err;
			}
			throw new APIError(0, "the proxy does not answer");
		}
		if (response.ok) {
			return response;
		}
		const failed = await failure(response);
		if (response.status !== 401) {
			throw failed;
		}
		if (token() === used) { // otherwise another request has asked already
			if (background && declined) {
				throw failed;
			}
			asking ??= ask(used ? "The token is wrong." : "").finally(() => { asking = null; });
			const given = await asking;
			declined = !given;
			if (declined) {
				throw failed;
			}
			keep(given);
		}
	}
}

async function failure(response) {
	try {
		const { error, hint } = await response.json();
		return new APIError(response.status, String(error), String(hint ?? ""));
	} catch {
		return new APIError(response.status, "the proxy answered " + response.status);
	}
}

// call sends a request, and returns the JSON of its answer.
export async function call(method, path, options) {
	const response = await open(method, path, options);
	try {
		return await response.json();
	} catch (err) {
		if (options?.signal?.aborted) {
			throw err;
		}
		throw new APIError(0, "the answer was cut off");
	}
}

// query writes parameters; empty ones are left out.
export function query(path, parameters) {
	const set = new URLSearchParams();
	for (const [name, value] of Object.entries(parameters)) {
		if (value !== "" && value !== null && value !== undefined && value !== false) {
			set.set(name, value);
		}
	}
	return set.size > 0 ? path + "?" + set : path;
}

// setBackend changes the state or the weight of a backend.
export function setBackend(pool, address, change) {
	return call("PATCH", "/api/v1/pools/" + encodeURIComponent(pool) + "/backends/" + encodeURIComponent(address), { body: change });
}

// describe is an error in one line.
export function describe(err) {
	if (err.status === 401) { // the hint of the API is for programs
		return err.message + ": reload the page to enter it";
	}
	return err.hint ? err.message + ": " + err.hint : err.message;
}
