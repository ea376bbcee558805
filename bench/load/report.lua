-- Prints what wrk counted as one line of JSON, after wrk's own text.
-- Durations and latencies are in microseconds.
function done(summary, latency, requests)
	local errors = summary.errors
	io.write(string.format(
		'\n{"requests":%d,"duration":%d,"p50":%d,"p99":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
		summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
		errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
