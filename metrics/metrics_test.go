package metrics

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"l4proxy/internal/testenv"
)

const (
	plain       = "text/plain"
	openMetrics = "application/openmetrics-text; version=1.0.0"
	protobuf    = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

// scrape asks a handler for a format.
func scrape(t testing.TB, h http.Handler, accept string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w
}

// parse reads an answer with Prometheus's own parser.
func parse(t testing.TB, w *httptest.ResponseRecorder) map[string]*dto.MetricFamily {
	t.Helper()
	decoder := expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Header()))
	families := make(map[string]*dto.MetricFamily)
	for {
		f := new(dto.MetricFamily)
		switch err := decoder.Decode(f); {
		case errors.Is(err, io.EOF):
			return families
		case err != nil:
			t.Fatal(err)
		}
		if families[f.GetName()] != nil {
			t.Errorf("%s is there twice", f.GetName())
		}
		families[f.GetName()] = f
	}
}

func handler(s *Snapshot) http.Handler { return Handler(fixed{s}, slog.New(slog.DiscardHandler)) }

// TestConsistent has Prometheus's registry check the families: types, labels, UTF-8, and that no
// metric is there twice.
func TestConsistent(t *testing.T) {
	families, err := prometheus.Gatherers{Gatherer{fixed{sample(20)}}}.Gather()
	if err != nil {
		t.Error(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestEveryMetric: what is listed is shown, with the type and the labels of the list, and nothing
// else.
func TestEveryMetric(t *testing.T) {
	families, _ := Gatherer{fixed{sample(20)}}.Gather()
	shown := make(map[string]bool)
	for _, f := range families {
		shown[f.GetName()] = true
		i := slices.IndexFunc(list, func(d *desc) bool { return d.name == f.GetName() })
		if i < 0 {
			t.Errorf("%s is not in the list", f.GetName())
			continue
		}
		if len(f.Metric) == 0 {
			t.Errorf("%s has no metric in the sample", f.GetName())
		}
		for _, m := range f.Metric {
			var names []string
			for _, l := range m.Label {
				names = append(names, l.GetName())
			}
			if !slices.Equal(names, list[i].labels) || !slices.IsSorted(names) {
				t.Errorf("%s has the labels %v, want %v, sorted", f.GetName(), names, list[i].labels)
			}
		}
	}
	for _, d := range list {
		if !shown[d.name] {
			t.Errorf("%s is not shown", d.name)
		}
	}
	if !slices.IsSortedFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) }) {
		t.Error("the families are not sorted")
	}
}

// TestContract holds the names that users rely on.
func TestContract(t *testing.T) {
	for _, want := range []string{
		"l4proxy_connections_total{listener}", "l4proxy_connections_active{listener}",
		"l4proxy_connections_closed_total{listener,reason,side}", "l4proxy_connections_denied_total{listener,rule}",
		"l4proxy_bytes_total{direction,listener}", "l4proxy_connection_duration_seconds{listener}",
		"l4proxy_backend_connections_active{backend,pool}", "l4proxy_backend_dials_total{backend,pool,result}",
		"l4proxy_backend_dial_duration_seconds{pool}", "l4proxy_backend_up{backend,pool}",
		"l4proxy_config_last_reload_success{}", "l4proxy_config_last_reload_timestamp_seconds{}",
	} {
		if !slices.ContainsFunc(list, func(d *desc) bool {
			return fmt.Sprintf("%s{%s}", d.name, strings.Join(d.labels, ",")) == want
		}) {
			t.Errorf("%s is missing", want)
		}
	}
	families := parse(t, scrape(t, handler(sample(1)), plain))
	for _, want := range []string{"go_goroutines", "process_open_fds", "process_max_fds", "process_cpu_seconds_total"} {
		if families[want] == nil {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestFormats(t *testing.T) {
	h := handler(sample(20))
	for _, accept := range []string{plain, openMetrics, protobuf} {
		w := scrape(t, h, accept)
		if kind, _, _ := strings.Cut(accept, ";"); !strings.HasPrefix(w.Header().Get("Content-Type"), kind) {
			t.Errorf("asked for %s, got %s", accept, w.Header().Get("Content-Type"))
		}
		if accept == openMetrics { // the library has no parser for it
			if !strings.HasSuffix(w.Body.String(), "# EOF\n") {
				t.Error("the answer in OpenMetrics is not complete")
			}
			continue
		}
		families := parse(t, w)
		if got := families["l4proxy_bytes_total"].Metric[0].GetCounter().GetValue(); got != 1<<40 {
			t.Errorf("%s: bytes in = %v", accept, got)
		}
		if got := families["l4proxy_connections_total"].Metric[1].Label[0].GetValue(); got != "old \"one\"\n" {
			t.Errorf("%s: a name is %q", accept, got)
		}
		checkHistogram(t, families["l4proxy_connection_duration_seconds"].Metric[0].Histogram, accept == protobuf)
	}
}

// checkHistogram checks the durations of the sample.
func checkHistogram(t *testing.T, h *dto.Histogram, native bool) {
	t.Helper()
	if h.GetSampleCount() != 4 || h.GetSampleSum() != 3601.001 {
		t.Errorf("count, sum = %d, %v", h.GetSampleCount(), h.GetSampleSum())
	}
	for i, want := range []uint64{2, 2, 2, 3} {
		if got := h.Bucket[i].GetCumulativeCount(); got != want {
			t.Errorf("%d up to %v s, want %d", got, h.Bucket[i].GetUpperBound(), want)
		}
	}
	if !native {
		return
	}
	n, count := int64(h.GetZeroCount()), int64(0)
	for _, delta := range h.PositiveDelta {
		count += delta
		n += count
	}
	if n != 4 || h.GetSchema() != 3 || h.GetZeroCount() != 1 {
		t.Errorf("%d in native buckets: %v", n, h)
	}
}

// TestInvalidUTF8: the path of a unix socket may hold any byte.
func TestInvalidUTF8(t *testing.T) {
	s := sample(1)
	s.Pools[0].Backends[0].Address = "unix:/run/\xff\n"
	families := parse(t, scrape(t, handler(s), plain))
	for _, l := range families["l4proxy_backend_up"].Metric[0].Label {
		if !model.LabelValue(l.GetValue()).IsValid() {
			t.Errorf("%q", l.GetValue())
		}
	}
}

func TestPromtool(t *testing.T) {
	promtool := testenv.NeedTool(t, "promtool")
	w := scrape(t, handler(sample(20)), plain)
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = w.Body
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
