package main

import (
	"maps"
	"testing"
)

func TestParseRedis(t *testing.T) {
	const heading = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"` + "\n"
	got, err := parseRedis(heading + `"GET","81300.81","0.402","0.112","0.391","0.559","0.783","2.143"` + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := (figures{"requests/s": 81300.81, "p50 ms": 0.391, "p99 ms": 0.783}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, output := range []string{"", heading, heading + `"GET","fast","0","0","0","0","0","0"` + "\n", "Error from server: NOAUTH\n"} {
		if got, err := parseRedis(output); err == nil {
			t.Errorf("%q was read as %v", output, got)
		}
	}
}
