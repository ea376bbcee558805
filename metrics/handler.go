package metrics

import (
	"bytes"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

const (
	// answersMost bounds the answers that are in memory, which a slow client may read for as long
	// as the admin address lets it. Further clients get 503.
	answersMost = 16
	// makingMost of them are made at a time: with 10,000 backends, each takes a CPU for a while.
	makingMost = 2
)

// Handler serves the metrics of a Source, and those of the Go runtime and of the process, in the
// format that the client asks for: text, OpenMetrics or protobuf, compressed or not.
func Handler(source Source, log *slog.Logger) http.Handler {
	runtime := prometheus.NewRegistry()
	runtime.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	made := promhttp.HandlerFor(both{Gatherer{source}, runtime}, promhttp.HandlerOpts{
		ErrorLog: errorLog{log}, ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true,
	})
	return &bounded{next: made, answers: make(chan struct{}, answersMost), making: make(chan struct{}, makingMost)}
}

// both gathers the families of two sources, which share no name.
type both [2]prometheus.Gatherer

func (g both) Gather() ([]*dto.MetricFamily, error) {
	own, _ := g[0].Gather() // never fails
	others, err := g[1].Gather()
	return append(own, others...), err
}

// errorLog logs what could not be gathered: some metrics of the runtime or the process are missing.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Println(what ...any) {
	if len(what) == 2 {
		if err, ok := what[1].(error); ok {
			l.log.Warn("metrics are missing", "error", err.Error())
		}
	}
}

// bounded makes answers in memory before it sends them. So a client that does not read holds up no
// other one, and keeps nothing but the bytes of its answer.
type bounded struct {
	next            http.Handler
	answers, making chan struct{}
	size            atomic.Int64 // of the last answer: the next one is about as large
}

// ServeHTTP implements [http.Handler].
func (b *bounded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case b.answers <- struct{}{}:
		defer func() { <-b.answers }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many clients read the metrics at once: try again in a second", http.StatusServiceUnavailable)
		return
	}
	a := b.make(r)
	if a == nil {
		return // the client has gone
	}
	maps.Copy(w.Header(), a.header)
	w.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if a.code != 0 {
		w.WriteHeader(a.code)
	}
	_, _ = w.Write(a.body.Bytes())
}

func (b *bounded) make(r *http.Request) *answer {
	select {
	case b.making <- struct{}{}:
		defer func() { <-b.making }()
	case <-r.Context().Done():
		return nil
	}
	a := &answer{header: make(http.Header)}
	a.body.Grow(int(b.size.Load()) * 9 / 8)
	b.next.ServeHTTP(a, r)
	b.size.Store(int64(a.body.Len()))
	return a
}

// answer is an answer in memory. It implements [http.ResponseWriter].
type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header            { return a.header }
func (a *answer) WriteHeader(code int)           { a.code = code }
func (a *answer) Write(text []byte) (int, error) { return a.body.Write(text) }
