package main

import (
	"testing"
)

func TestParseWrk(t *testing.T) {
	const good = `Running 1s test
{"requests":1000,"duration":500000,"p50":300,"p99":900,"connect":0,"read":0,"write":0,"status":0,"timeout":0}
`
	r, err := parseWrk([]byte(good))
	if want := (wrkResult{Requests: 1000, Duration: 500000, P50: 300, P99: 900}); r != want || err != nil {
		t.Errorf("parseWrk = %+v, %v, want %+v", r, err, want)
	}
	for name, output := range map[string]string{
		"errors":     `{"requests":1000,"duration":500000,"read":3}`,
		"no request": `{"requests":0,"duration":500000}`,
		"no JSON":    "unable to connect",
	} {
		if _, err := parseWrk([]byte(output)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestParseIperf(t *testing.T) {
	got, err := parseIperf([]byte(`{"end":{"sum_sent":{"bytes":9},"sum_received":{"bytes":8,"bits_per_second":64,"seconds":2},` +
		`"cpu_utilization_percent":{"host_total":25,"remote_total":50}}}`))
	if want := (iperfResult{bytes: 8, bitsPerSecond: 64, cpu: 1.5}); got != want || err != nil {
		t.Errorf("parseIperf = %+v, %v, want %+v", got, err, want)
	}
	for _, output := range []string{`{"error":"server is busy"}`, `{"end":{}}`, ""} {
		if _, err := parseIperf([]byte(output)); err == nil {
			t.Errorf("%q was taken", output)
		}
	}
}
