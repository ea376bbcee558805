package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"l4proxy/internal/testnet"
)

// series are values by name and labels, as in l4proxy_connections_total{listener="web"}.
type series map[string]float64

// scrape reads the metrics of a service.
func (s *service) scrape() (series, error) {
	text, err := s.scrapeText()
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	all := make(series)
	for name, f := range families {
		for _, m := range f.Metric {
			all.add(name, m)
		}
	}
	return all, nil
}

func (s series) add(name string, m *dto.Metric) {
	var labels []string
	for _, l := range m.Label {
		labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	at := "{" + strings.Join(labels, ",") + "}"
	if h := m.Histogram; h != nil {
		s[name+"_count"+at], s[name+"_sum"+at] = float64(h.GetSampleCount()), h.GetSampleSum()
		return
	}
	s[name+at] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

func (s *service) scrapeText() ([]byte, error) {
	h := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, "admin"))
		},
	}}
	answer, err := h.Get("http://localhost/metrics")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", answer.Status)
	}
	return io.ReadAll(answer.Body)
}

// shows waits until the metrics have these values.
func (s *service) shows(want series) series {
	s.t.Helper()
	var got series
	if !testnet.Within(testnet.Patience, func() bool {
		var err error
		if got, err = s.scrape(); err != nil {
			s.t.Fatal(err)
		}
		for name, value := range want {
			if now, ok := got[name]; !ok || now != value {
				return false
			}
		}
		return true
	}) {
		for name, value := range want {
			if now, ok := got[name]; !ok || now != value {
				s.t.Errorf("%s = %v (shown: %v), want %v", name, now, ok, value)
			}
		}
		s.t.FailNow()
	}
	return got
}

// checkMetrics has promtool check what a service shows, if it is installed.
func checkMetrics(t *testing.T, s *service) {
	t.Helper()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		return // package metrics has a test that is skipped for it
	}
	text, err := s.scrapeText()
	if err != nil {
		t.Fatal(err)
	}
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = bytes.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
