package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseStat(t *testing.T) {
	user, system, err := parseStat([]byte("42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 150 250 10 20 20 0 3 0 7000 1 2"))
	if user != 1.6 || system != 2.7 || err != nil {
		t.Errorf("parseStat = %v, %v, %v, want 1.6, 2.7", user, system, err)
	}
	if _, _, err := parseStat([]byte("42 (a) S 1")); err == nil {
		t.Error("a short line was taken")
	}
}

func TestParseRollup(t *testing.T) {
	pss, rss, err := parseRollup([]byte("5581-7ffe ---p 00000000 00:00 0 [rollup]\nRss:    20 kB\nPss:    12 kB\nPss_Dirty: 4 kB\n"))
	if pss != 12<<10 || rss != 20<<10 || err != nil {
		t.Errorf("parseRollup = %v, %v, %v, want 12 and 20 KiB", pss, rss, err)
	}
	if _, _, err := parseRollup([]byte("Rss: 20 kB\n")); err == nil {
		t.Error("a rollup without Pss was taken")
	}
}

func TestParseMachineCPU(t *testing.T) {
	busy, err := parseMachineCPU("cpu  100 10 200 9999 8888 30 40 0 0 0")
	if busy != 3.8 || err != nil {
		t.Errorf("parseMachineCPU = %v, %v, want 3.8", busy, err)
	}
	if _, err := parseMachineCPU("cpu0 1 2 3 4 5 6 7"); err == nil {
		t.Error("one CPU's line was taken")
	}
}

func TestHasListener(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:4E20 00000000:0000 0A 00000000:00000000
   1: 0100007F:4E21 0200007F:1234 01 00000000:00000000
   2: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000
`
	for port, want := range map[int]bool{20000: true, 20001: false, 8080: true, 4660: false} {
		if got := hasListener(table, port); got != want {
			t.Errorf("hasListener(%d) = %t, want %t", port, got, want)
		}
	}
}

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

func TestStreamModule(t *testing.T) {
	dir := t.TempDir()
	module := filepath.Join(dir, "ngx_stream_module.so")
	dynamic := "nginx version: nginx/1\nconfigure arguments: --modules-path=" + dir + " --with-stream=dynamic --with-stream_ssl_module"
	if _, err := streamModule(dynamic); err == nil {
		t.Error("a module that is not installed was found")
	}
	if err := os.WriteFile(module, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for about, want := range map[string]string{dynamic: module, "configure arguments: --with-stream": ""} {
		if got, err := streamModule(about); got != want || err != nil {
			t.Errorf("streamModule(%q) = %q, %v, want %q", about, got, err, want)
		}
	}
	if _, err := streamModule("configure arguments: --with-http"); err == nil {
		t.Error("an nginx without stream was taken")
	}
}
