// Numbers, times and sizes as people read them.

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

// scaled writes a number with three digits and a unit.
function scaled(value, units, base) {
	let unit = 0;
	while (unit < units.length - 1 && Math.abs(value) >= base * 0.9995) {
		value /= base;
		unit++;
	}
	const size = Math.abs(value);
	const digits = unit === 0 || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
	return value.toFixed(digits) + units[unit];
}

// known reports whether a value is a number that can be shown.
export function known(value) {
	return typeof value === "number" && Number.isFinite(value);
}

// count is a whole number: 9,999, then 12.3k.
export function count(value) {
	if (!known(value)) {
		return "–";
	}
	return Math.abs(value) < 100000 ? grouped.format(value) : scaled(value, ["", "k", "M", "G", "T", "P"], 1000);
}

// exact is a whole number with all its digits, for tooltips.
export function exact(value) {
	return known(value) ? grouped.format(value) : "–";
}

// rate is a number per second, without its unit.
export function rate(value) {
	if (!known(value)) {
		return "–";
	}
	return value > 0 && value < 9.95 ? value.toFixed(1) : count(Math.round(value));
}

// bytes is a size.
export function bytes(value) {
	return known(value) ? scaled(value, [" B", " kB", " MB", " GB", " TB", " PB"], 1000) : "–";
}

// brief is a text of the functions above for an axis: without zeros behind the point, and without
// "per second".
export function brief(format) {
	return (value) => format(value).replace(/\.0+(?=\D|$)/, "").replace("/s", "");
}

// byteRate is a number of bytes per second.
export function byteRate(value) {
	return known(value) ? bytes(value) + "/s" : "–";
}

// latency is a short time in seconds.
export function latency(value) {
	if (!known(value)) {
		return "–";
	}
	if (value < 0.00095) {
		return Math.round(value * 1e6) + " µs";
	}
	if (value < 0.9995) {
		const ms = value * 1e3;
		return (ms < 9.95 ? ms.toFixed(1) : Math.round(ms)) + " ms";
	}
	return value.toFixed(value < 9.95 ? 1 : 0) + " s";
}

// period is a time in seconds, in two units at most, as the commands write it.
export function period(value) {
	if (!known(value)) {
		return "–";
	}
	const s = Math.max(0, Math.floor(value));
	if (s < 60) {
		return s + "s";
	}
	if (s < 3600) {
		return Math.floor(s / 60) + "m" + (s % 60) + "s";
	}
	if (s < 86400) {
		return Math.floor(s / 3600) + "h" + Math.floor((s % 3600) / 60) + "m";
	}
	return Math.floor(s / 86400) + "d" + Math.floor((s % 86400) / 3600) + "h";
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

// clock is the time of day of a Date or a time in milliseconds.
export function clock(time) {
	return clockFormat.format(time);
}

// moment is a day and a time of day.
export function moment(time) {
	return dayFormat.format(time) + ", " + clock(time);
}

// plural is a number with its noun.
export function plural(n, noun, nouns = noun + "s") {
	return count(n) + " " + (n === 1 ? noun : nouns);
}
