package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// report is the result of a run.
type report struct {
	Machine    machine       `json:"machine"`
	Peers      []peerVersion `json:"peers"`
	Missing    []string      `json:"missing,omitempty"`
	NoiseLimit float64       `json:"noise_limit"`
	Results    []result      `json:"results"`
}

type peerVersion struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// write writes report.md, report.json and the pictures to dir, and report.md to
// w too. After that it fails if a rival or one of ours failed.
func (r report) write(dir string, w io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// A line for each scenario and peer, so that a diff shows what changed.
	for _, key := range []string{`{"scenario":`, `{"peer":`} {
		data = bytes.ReplaceAll(data, []byte(key), []byte("\n"+key))
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	if err := r.draw(dir); err != nil {
		return err
	}
	text := r.markdown()
	if err := os.WriteFile(filepath.Join(dir, "report.md"), []byte(text), 0o644); err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	for _, result := range r.Results {
		for _, row := range result.Rows {
			// A failure of a proxy that is only shown is a finding.
			if row.Failed != "" && row.Role != shown {
				return fmt.Errorf("%s: %s failed", result.Scenario, row.Peer)
			}
		}
	}
	return nil
}

// readReport reads the report in dir. It computes again what report.json leaves
// out: the columns of the tables, and the ratios.
func readReport(dir string) (r report, err error) {
	path := filepath.Join(dir, "report.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	r.Results = slices.DeleteFunc(r.Results, func(result result) bool {
		_, ok := findScenario(result.Scenario)
		return !ok // the report is of an older bench
	})
	for i := range r.Results {
		result := &r.Results[i]
		if result.Date == "" {
			result.Date = r.Machine.Date
		}
		result.scenario, _ = findScenario(result.Scenario)
		for i := range result.Rows {
			for k, f := range result.Rows[i].Samples {
				result.Rows[i].Samples[k] = f.kept(result.metrics)
			}
		}
		compare(result)
	}
	return r, nil
}

// keep adds to r the scenarios of the report in dir, if there is one, that r did
// not measure, in the order of all scenarios.
func (r *report) keep(dir string) error {
	old, err := readReport(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var all []result
	for _, s := range scenarios() {
		is := func(result result) bool { return result.Scenario == s.name }
		if i := slices.IndexFunc(r.Results, is); i >= 0 {
			all = append(all, r.Results[i])
		} else if i := slices.IndexFunc(old.Results, is); i >= 0 {
			all = append(all, old.Results[i])
		}
	}
	r.Results = all
	for _, p := range old.Peers {
		if !slices.ContainsFunc(r.Peers, func(q peerVersion) bool { return q.Name == p.Name }) {
			r.Peers = append(r.Peers, p)
		}
	}
	return nil
}

func (r report) markdown() string {
	var b strings.Builder
	b.WriteString("# l4proxy and its peers\n\n")
	for _, line := range r.Machine.lines() {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	for _, p := range r.Peers {
		if p.Version != "" {
			fmt.Fprintf(&b, "- %s: %s\n", p.Name, p.Version)
		}
	}
	for _, line := range r.Missing {
		fmt.Fprintf(&b, "- left out: %s\n", line)
	}
	fmt.Fprintf(&b, `
- Figures are medians of interleaved rounds, each with its confidence interval of at least 93 %%. With eight rounds or fewer, and always in outages, the interval is least–greatest; with fewer than five rounds it is less certain.
- Ratios are to the rival with the better median, round by round, then the median. Less is better, except for rates.
- "too noisy": the interval is wider than %g of the median.
`, r.NoiseLimit)
	for _, result := range r.Results {
		result.markdown(&b, r.NoiseLimit)
	}
	return b.String()
}

func (r result) markdown(b *strings.Builder, limit float64) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n", r.Scenario, r.about)
	if r.Rate > 0 {
		fmt.Fprintf(b, "Rate: %.0f per second.\n", r.Rate)
	}
	if r.Rounds > 0 {
		fmt.Fprintf(b, "Rounds: %d of %s", r.Rounds, r.Duration)
		if r.Date != "" {
			fmt.Fprintf(b, ", on %s", r.Date)
		}
		b.WriteString(".\n")
	}
	b.WriteString("\n| peer |")
	for _, m := range r.metrics {
		fmt.Fprintf(b, " %s |", m.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(r.metrics)) + "\n")
	for _, row := range r.Rows {
		fmt.Fprintf(b, "| %s |", row.Peer)
		if row.Failed != "" {
			reason := strings.ReplaceAll(strings.ReplaceAll(row.Failed, "\n", " "), "|", "/")
			fmt.Fprintf(b, " failed: %s |%s\n", reason, strings.Repeat(" |", len(r.metrics)-1))
			continue
		}
		for _, m := range r.metrics {
			fmt.Fprintf(b, " %s |", row.cell(m, limit))
		}
		b.WriteString("\n")
		if len(row.Ratios) > 0 {
			to, digits := "best rival", 2
			if row.Beside != "" {
				to, digits = row.Beside, 3
			}
			fmt.Fprintf(b, "| %s ÷ %s |", row.Peer, to)
			for _, m := range r.metrics {
				ratio, ok := row.Ratios[m.name]
				fmt.Fprintf(b, " %s |", cell(ratio.summary, ok, digits, limit))
			}
			b.WriteString("\n")
		}
	}
	for i, row := range slices.DeleteFunc(slices.Clone(r.Rows), func(row row) bool { return len(row.Failures) == 0 }) {
		if i == 0 {
			b.WriteString("\nHow clients failed or were cut off, over all rounds:\n\n")
		}
		fmt.Fprintf(b, "- %s: %s\n", row.Peer, kinds(row.Failures))
	}
}

func (r row) cell(m metric, limit float64) string {
	samples := r.values(m.name)
	if len(samples) == 0 {
		return "–"
	}
	if m.noisy {
		return cell(wholeRange(samples), true, m.digits, math.Inf(1))
	}
	return cell(summarize(samples), true, m.digits, limit)
}

// cell formats a figure, or says that it is too noisy. A figure whose interval is
// within the last digit shown is not noisy, however small it is.
func cell(s summary, ok bool, digits int, limit float64) string {
	if !ok {
		return "–"
	}
	interval := fmt.Sprintf("(%.*f–%.*f)", digits, s.Low, digits, s.High)
	if s.spread() > limit && s.High-s.Low > lastDigit(digits) {
		return "too noisy " + interval
	}
	return fmt.Sprintf("%.*f %s", digits, s.Median, interval)
}

// lastDigit returns the value of the last digit after the point.
func lastDigit(digits int) float64 {
	value := 1.0
	for range digits {
		value /= 10
	}
	return value
}
