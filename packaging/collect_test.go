package packaging

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// blocks are the parts of docs/monitoring.md that are files of other programs.
func blocks(t *testing.T) (all []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?ms)^```yml\n(.*?)^```$").FindAllStringSubmatch(read(t, "docs/monitoring.md"), -1) {
		all = append(all, m[1])
	}
	if len(all) != 2 {
		t.Fatalf("%d blocks were found, want one for Prometheus and one for the collector", len(all))
	}
	return all
}

// checkScrapes has Prometheus check a configuration. The files that it names need not exist.
func checkScrapes(t *testing.T, config string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "config", "--syntax-only", file)
}

func TestDocumentedScrapes(t *testing.T) { checkScrapes(t, blocks(t)[0]) }

// The collector's receiver has a configuration of Prometheus, and its pipeline has only parts that
// exist.
func TestDocumentedCollector(t *testing.T) {
	var c struct {
		Receivers struct {
			Prometheus struct{ Config yaml.MapSlice }
		}
		Processors map[string]any
		Exporters  map[string]struct{ Endpoint string }
		Service    struct {
			Pipelines map[string]struct{ Receivers, Processors, Exporters []string }
		}
	}
	if err := yaml.UnmarshalWithOptions([]byte(blocks(t)[1]), &c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	scrapes, err := yaml.Marshal(c.Receivers.Prometheus.Config)
	if err != nil || !strings.Contains(string(scrapes), "job_name: l4proxy") {
		t.Fatalf("%v: %s", err, scrapes)
	}
	checkScrapes(t, string(scrapes))
	pipeline, ok := c.Service.Pipelines["metrics"]
	if !ok || len(c.Service.Pipelines) != 1 || len(pipeline.Receivers) != 1 || pipeline.Receivers[0] != "prometheus" || len(pipeline.Exporters) == 0 {
		t.Fatalf("pipelines %+v", c.Service.Pipelines)
	}
	for _, name := range pipeline.Processors {
		if _, ok := c.Processors[name]; !ok {
			t.Errorf("no processor %s", name)
		}
	}
	for _, name := range pipeline.Exporters {
		if c.Exporters[name].Endpoint == "" {
			t.Errorf("the exporter %s has no endpoint", name)
		}
	}
}
