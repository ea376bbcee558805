package packaging

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"l4proxy/internal/testenv"
)

const rulesFile = "packaging/prometheus/l4proxy.rules.yml"

var testFiles = []string{"packaging/prometheus/l4proxy_test.yml", "packaging/prometheus/l4proxy_days_test.yml"}

type rules struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Record, Alert string
	Expr          string
	For           string
	Labels        map[string]string
	Annotations   map[string]string
}

type ruleTests struct {
	RuleFiles          []string `yaml:"rule_files"`
	EvaluationInterval string   `yaml:"evaluation_interval"`
	GroupEvalOrder     []string `yaml:"group_eval_order"`
	Tests              []ruleTest
}

type ruleTest struct {
	Interval    string
	InputSeries []struct{ Series, Values string } `yaml:"input_series"`
	Alerts      []struct {
		EvalTime  string `yaml:"eval_time"`
		Alertname string
		Expected  []struct {
			Labels      map[string]string `yaml:"exp_labels"`
			Annotations map[string]string `yaml:"exp_annotations"`
		} `yaml:"exp_alerts"`
	} `yaml:"alert_rule_test"`
	Queries []struct {
		Expr     string
		EvalTime string `yaml:"eval_time"`
	} `yaml:"promql_expr_test"`
}

// decode reads a file of the repository. A key that is not in the type is an error.
func decode[T any](t *testing.T, name string) (v T) {
	t.Helper()
	if err := yaml.UnmarshalWithOptions([]byte(read(t, name)), &v, yaml.Strict()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

func allRules(t *testing.T) (all []rule) {
	t.Helper()
	for _, group := range decode[rules](t, rulesFile).Groups {
		all = append(all, group.Rules...)
	}
	return all
}

func allTests(t *testing.T) (all []ruleTest) {
	t.Helper()
	for _, name := range testFiles {
		all = append(all, decode[ruleTests](t, name).Tests...)
	}
	return all
}

// promtool runs the program in packaging/prometheus.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(testenv.NeedTool(t, "promtool"), args...)
	cmd.Dir = filepath.Join(repository, filepath.Dir(rulesFile))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtoolAcceptsTheRules(t *testing.T) {
	promtool(t, "check", "rules", filepath.Base(rulesFile))
}

// Each alert fires, and does not fire, as the tests beside the rules say.
func TestAlertsFire(t *testing.T) {
	args := []string{"test", "rules"}
	for _, name := range testFiles {
		args = append(args, filepath.Base(name))
	}
	promtool(t, args...)
}

var labelInTemplate = regexp.MustCompile(`\$labels\.(\w+)`)

// Each alert has what an operator needs, a section in the runbook, and tests.
func TestAlertsAreComplete(t *testing.T) {
	known := documented(t)
	fires, quiet := make(map[string]bool), make(map[string]bool)
	for _, test := range allTests(t) {
		for _, a := range test.Alerts {
			quiet[a.Alertname] = quiet[a.Alertname] || len(a.Expected) == 0
			fires[a.Alertname] = fires[a.Alertname] || len(a.Expected) > 0
		}
	}
	var names []string
	for _, r := range allRules(t) {
		if r.Alert == "" {
			continue
		}
		names = append(names, r.Alert)
		if severity := r.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s: severity %q", r.Alert, severity)
		}
		if want := "docs/runbook.md#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url %s, want %s", r.Alert, r.Annotations["runbook_url"], want)
		}
		_, labels := queryFaults(t, r.Expr, known)
		for _, name := range []string{"summary", "description"} {
			text := r.Annotations[name]
			if text == "" {
				t.Errorf("%s has no %s", r.Alert, name)
			}
			for _, m := range labelInTemplate.FindAllStringSubmatch(text, -1) {
				if !slices.Contains(labels, m[1]) && !strings.Contains(r.Expr, ":") {
					t.Errorf("%s: the %s uses the label %s, which the expression does not have", r.Alert, name, m[1])
				}
			}
		}
		if !strings.Contains(r.Annotations["description"], "$labels.instance") {
			t.Errorf("%s: the description does not say which proxy it is about", r.Alert)
		}
		if !fires[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s: a test in which it fires: %v, and in which it does not: %v", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
	if len(names) < 15 {
		t.Fatalf("%d alerts were found", len(names))
	}
	// The other way round: a section without an alert is of one that was renamed or removed.
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^### (.+)$`).FindAllStringSubmatch(read(t, "docs/runbook.md"), -1) {
		sections = append(sections, m[1])
	}
	slices.Sort(names)
	slices.Sort(sections)
	if !slices.Equal(names, sections) {
		t.Errorf("the alerts are\n%q\nand the runbook has sections for\n%q", names, sections)
	}
}

// Expressions use only metrics, labels and words that the proxy has.
func TestRulesUseDocumentedMetrics(t *testing.T) {
	known := documented(t)
	all := allRules(t)
	for _, r := range all {
		if r.Record != "" {
			known[r.Record] = metric{}
			if !slices.ContainsFunc(all, func(other rule) bool { return strings.Contains(other.Expr, r.Record) }) {
				t.Errorf("nothing uses %s", r.Record)
			}
		}
	}
	for _, r := range all {
		found, _ := queryFaults(t, r.Expr, known)
		for _, fault := range found {
			t.Errorf("%s%s: %s", r.Alert, r.Record, fault)
		}
	}
	for _, test := range allTests(t) {
		for _, series := range test.InputSeries {
			found, _ := queryFaults(t, series.Series, known)
			for _, fault := range found {
				t.Errorf("the tests: %s: %s", series.Series, fault)
			}
		}
	}
}

// The clients that were not served are those of docs/operations.md, in the rules and on the
// dashboard.
func TestReasonsOfClientsThatAreNotServed(t *testing.T) {
	_, notServed := reasons(t)
	slices.Sort(notServed)
	lists := regexp.MustCompile(`reason=~\\?"([^"\\]*)`)
	for _, name := range []string{rulesFile, dashboardFile} {
		found := lists.FindAllStringSubmatch(read(t, name), -1)
		if len(found) == 0 {
			t.Errorf("%s has no list of reasons", name)
		}
		for _, m := range found {
			got := strings.Split(m[1], "|")
			slices.Sort(got)
			if !slices.Equal(got, notServed) {
				t.Errorf("%s has the reasons %q, want %q", name, got, notServed)
			}
		}
	}
}
