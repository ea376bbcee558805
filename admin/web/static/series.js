// The last minutes of Stats, as series of rates and values that charts draw.

// span is how many Stats are kept: one a second.
export const span = 300;

// Ring is a series of the last values.
class Ring {
	values = new Float64Array(span).fill(NaN);
	written = 0; // number of the last value
}

// Series hold what was derived from Stats. These have the busiest listeners and pools only, so one
// that is missing may come back: its series are dropped when all their values are old.
export class Series {
	times = [];
	last = null;
	#rings = new Map();
	#next = 0; // number of the next value

	// clear forgets everything.
	clear() {
		this.times = [];
		this.last = null;
		this.#rings.clear();
		this.#next = 0;
	}

	// add adds Stats. Stats that are not newer than the last are ignored: a stream that is opened
	// again sends its history again.
	add(stats) {
		const time = Date.parse(stats.time) / 1000;
		const before = this.last;
		if (before && time <= before.seconds) {
			return;
		}
		const now = { seconds: time, stats, listeners: index(stats.listeners), pools: index(stats.pools) };
		const at = this.#next % span;
		for (const ring of this.#rings.values()) {
			ring.values[at] = NaN;
		}
		const put = (key, value) => {
			let ring = this.#rings.get(key);
			if (!ring) {
				ring = new Ring();
				this.#rings.set(key, ring);
			}
			ring.values[at] = value;
			ring.written = this.#next;
		};
		const passed = before ? time - before.seconds : NaN;
		// A count that has become smaller is that of another process.
		const rate = (a, b, name) => {
			const grown = a && b ? b[name] - a[name] : NaN;
			return grown >= 0 ? grown / passed : NaN;
		};
		const total = { accepted: NaN, denied: NaN, failed: NaN, bytes_in: NaN, bytes_out: NaN };
		for (const [name, l] of now.listeners) {
			const old = before?.listeners.get(name);
			put("listener/connections/" + name, l.connections);
			for (const part of Object.keys(total)) {
				const value = rate(old, l, part);
				put("listener/" + part + "/" + name, value);
				if (!Number.isNaN(value)) {
					total[part] = (Number.isNaN(total[part]) ? 0 : total[part]) + value;
				}
			}
		}
		for (const [part, value] of Object.entries(total)) {
			put(part, value);
		}
		put("connections", stats.connections);
		const busy = stats.busy ?? [];
		put("busy", busy.length > 0 ? Math.max(...busy) : NaN);
		const dials = { p50: NaN, p99: NaN, weight: 0, sum: 0 };
		for (const [name, p] of now.pools) {
			const old = before?.pools.get(name);
			const dialed = rate(old, p, "dials");
			put("pool/connections/" + name, p.connections);
			put("pool/queued/" + name, p.queued);
			put("pool/dials/" + name, dialed);
			put("pool/failed_dials/" + name, rate(old, p, "failed_dials"));
			const measured = p.dial_p99 > 0;
			put("pool/p50/" + name, measured ? p.dial_p50 : NaN);
			put("pool/p99/" + name, measured ? p.dial_p99 : NaN);
			if (measured) { // of all pools: the worst p99, and the mean of the medians by dials
				const weight = dialed > 0 ? dialed : 1;
				dials.weight += weight;
				dials.sum += weight * p.dial_p50;
				dials.p99 = Math.max(Number.isNaN(dials.p99) ? 0 : dials.p99, p.dial_p99);
			}
		}
		put("p50", dials.weight > 0 ? dials.sum / dials.weight : NaN);
		put("p99", dials.p99);

		this.#next++;
		this.times.push(time);
		if (this.times.length > span) {
			this.times.shift();
		}
		this.last = now;
		for (const [key, ring] of this.#rings) {
			if (this.#next - ring.written > span) {
				this.#rings.delete(key);
			}
		}
	}

	// get returns a series that goes with times; null is an unknown value.
	get(key) {
		const ring = this.#rings.get(key);
		const length = this.times.length;
		const values = new Array(length).fill(null);
		if (ring) {
			for (let i = 0; i < length; i++) {
				const value = ring.values[(this.#next - length + i) % span];
				values[i] = Number.isNaN(value) ? null : value;
			}
		}
		return values;
	}

	// now returns the mean of the last few values: it is calmer than the last one. It is null if
	// none is known.
	now(key, few = 3) {
		const ring = this.#rings.get(key);
		let sum = 0;
		let known = 0;
		for (let i = 1; ring && i <= Math.min(few, this.times.length); i++) {
			const value = ring.values[(this.#next - i) % span];
			if (!Number.isNaN(value)) {
				sum += value;
				known++;
			}
		}
		return known > 0 ? sum / known : null;
	}

	// latest returns the last value; null if it is unknown.
	latest(key) {
		return this.now(key, 1);
	}
}

function index(all) {
	return new Map((all ?? []).map((item) => [item.name, item]));
}
