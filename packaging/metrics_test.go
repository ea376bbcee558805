package packaging

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const repository = ".."

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// metric is a row of docs/metrics.md.
type metric struct {
	kind    string
	labels  []string
	meaning string
}

var (
	metricRow = regexp.MustCompile("(?m)^\\| `(l4proxy_[a-z0-9_]+)` \\| (\\w+) \\| ([^|]*) \\| (.*) \\|$")
	code      = regexp.MustCompile("`([^`]+)`")
)

// documented are the metrics of docs/metrics.md by the names that a query has for them.
func documented(t *testing.T) map[string]metric {
	t.Helper()
	all := make(map[string]metric)
	for _, row := range metricRow.FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		m := metric{kind: row[2], meaning: row[4]}
		for _, label := range code.FindAllStringSubmatch(row[3], -1) {
			m.labels = append(m.labels, label[1])
		}
		if m.kind != "histogram" {
			all[row[1]] = m
			continue
		}
		all[row[1]+"_sum"], all[row[1]+"_count"] = m, m
		m.labels = append(slices.Clone(m.labels), "le")
		all[row[1]+"_bucket"] = m
	}
	if len(all) < 30 {
		t.Fatalf("docs/metrics.md has %d metrics: the pattern is wrong", len(all))
	}
	// Those of the process and of the Go runtime that are used, and what Prometheus has of its own.
	for _, name := range []string{
		"process_open_fds", "process_max_fds", "process_resident_memory_bytes", "process_cpu_seconds_total", "go_memstats_heap_inuse_bytes", "up",
	} {
		all[name] = metric{}
	}
	all["ALERTS"] = metric{labels: []string{"alertname", "alertstate", "severity", "listener", "pool", "backend", "loop"}}
	return all
}

// targetLabels are those that a scrape adds.
var targetLabels = []string{"job", "instance"}

var (
	selector = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
)

// used are the metrics that an expression selects, each with its matchers.
func used(expr string) map[string][][]string {
	all := make(map[string][][]string)
	for _, m := range selector.FindAllStringSubmatch(grouping.ReplaceAllString(expr, ""), -1) {
		name := m[1]
		if strings.HasPrefix(name, "l4proxy_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "go_") ||
			strings.Contains(name, ":") || m[2] != "" {
			all[name] = append(all[name], matcher.FindAllStringSubmatch(m[2], -1)...)
		}
	}
	return all
}

// queryFaults names what an expression selects that the proxy does not have: metrics, labels, or
// values of labels whose values are a closed list. It returns the labels that the expression can
// have too.
func queryFaults(t *testing.T, expr string, known map[string]metric) (found, labels []string) {
	t.Helper()
	labels = slices.Clone(targetLabels)
	selected := used(expr)
	if len(selected) == 0 {
		return []string{"selects nothing"}, nil
	}
	for _, name := range slices.Sorted(maps.Keys(selected)) {
		m, ok := known[name]
		if !ok {
			found = append(found, "no metric "+name)
			continue
		}
		labels = append(labels, m.labels...)
		for _, match := range selected[name] {
			label, value := match[1], match[3]
			if !slices.Contains(m.labels, label) && !slices.Contains(targetLabels, label) {
				found = append(found, name+" has no label "+label)
			}
			for _, word := range strings.Split(value, "|") {
				if !valueExists(t, m, label, word) {
					found = append(found, name+" has no "+label+" "+word)
				}
			}
		}
	}
	for _, group := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(group[1], ",") {
			if label = strings.TrimSpace(label); label != "" && !slices.Contains(labels, label) {
				found = append(found, "no selected metric has the label "+label)
			}
		}
	}
	return found, labels
}

var reason = regexp.MustCompile("(?m)^\\| `([a-z_]+)`( \\*)? \\|")

// reasons are the rows of docs/operations.md, and those of clients that were not served.
func reasons(t *testing.T) (all, notServed []string) {
	t.Helper()
	_, section, ok := strings.Cut(read(t, "docs/operations.md"), "\n### Reasons\n")
	section, _, _ = strings.Cut(section, "\n#")
	for _, m := range reason.FindAllStringSubmatch(section, -1) {
		all = append(all, m[1])
		if m[2] != "" {
			notServed = append(notServed, m[1])
		}
	}
	if !ok || len(all) < 20 || len(notServed) < 8 {
		t.Fatalf("docs/operations.md has %d reasons, %d of clients that were not served", len(all), len(notServed))
	}
	return all, notServed
}

// valueExists reports whether a label can have a value.
func valueExists(t *testing.T, m metric, label, value string) bool {
	t.Helper()
	switch {
	case strings.Contains(value, "$") || strings.Contains(value, "*"):
		return true // a variable, or a pattern
	case label == "reason" || label == "result" && slices.Contains(m.labels, "backend"):
		all, _ := reasons(t)
		return slices.Contains(append(all, "ok"), value)
	case label == "cause" || label == "state" || label == "direction" || label == "result" || label == "kind":
		return regexp.MustCompile(`\b` + value + `\b`).MatchString(m.meaning)
	}
	return true
}

// The test finds what is wrong.
func TestQueryFaults(t *testing.T) {
	known := documented(t)
	for expr, want := range map[string]string{
		`rate(l4proxy_conections_total[5m])`:                       "no metric l4proxy_conections_total",
		`l4proxy_ready{pool="pg"}`:                                 "l4proxy_ready has no label pool",
		`sum by (pool) (l4proxy_connections_active)`:               "no selected metric has the label pool",
		`l4proxy_connections_closed_total{reason=~"closed|bored"}`: "l4proxy_connections_closed_total has no reason bored",
		`l4proxy_backend_dials_total{result!="success"}`:           "l4proxy_backend_dials_total has no result success",
		`l4proxy_upgrades_total{result="failed"}`:                  "l4proxy_upgrades_total has no result failed",
		`l4proxy_bytes_total{direction="up"}`:                      "l4proxy_bytes_total has no direction up",
		`rate(l4proxy_backend_dial_duration_seconds[5m])`:          "no metric l4proxy_backend_dial_duration_seconds",
		`1 + 1`: "selects nothing",
		`sum without (backend, result) (l4proxy_backend_dials_total)`:                                          "",
		`l4proxy_pool_backends{state="backoff"} and on (job) l4proxy_connections_closed_total{reason="error"}`: "",
	} {
		found, _ := queryFaults(t, expr, known)
		if got := strings.Join(found, "; "); got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}
