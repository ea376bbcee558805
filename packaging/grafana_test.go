package packaging

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const dashboardFile = "packaging/grafana/l4proxy.json"

type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Panels        []dashboardPanel
	Templating    struct{ List []variable }
	Annotations   struct{ List []annotation }
}

type dashboardPanel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               *datasource
	Targets                  []target
}

type target struct {
	RefID      string
	Expr       string
	Datasource *datasource
}

type datasource struct{ Type, UID string }

type variable struct {
	Name, Type string
	Datasource *datasource
	Query      any
}

type annotation struct {
	Name, Expr string
	Datasource *datasource
}

func theDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || len(d.Panels) < 20 {
		t.Fatalf("uid %q, title %q, %d panels", d.UID, d.Title, len(d.Panels))
	}
	return d
}

func (d *dashboard) expressions() (all map[string]string) {
	all = make(map[string]string)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all[p.Title+" "+target.RefID] = target.Expr
		}
	}
	for _, a := range d.Annotations.List {
		if a.Expr != "" {
			all["annotation "+a.Name] = a.Expr
		}
	}
	return all
}

func (d *dashboard) queryOf(v variable) string {
	query, _ := v.Query.(map[string]any)
	text, _ := query["query"].(string)
	return text
}

// Panels have their own id, a description, a query and a place that no other panel has.
func TestDashboardPanels(t *testing.T) {
	d := theDashboard(t)
	// The schema of Grafana 10.4 and 11; newer ones migrate it when they load it.
	if d.SchemaVersion != 39 {
		t.Errorf("schema %d", d.SchemaVersion)
	}
	ids, titles := make(map[int]string), make(map[string]bool)
	taken := make(map[[2]int]string)
	for _, p := range d.Panels {
		if other, ok := ids[p.ID]; ok || p.ID == 0 {
			t.Errorf("%s has the id %d, which %q has too", p.Title, p.ID, other)
		}
		ids[p.ID] = p.Title
		if titles[p.Title] || p.Title == "" {
			t.Errorf("there are two panels with the title %q", p.Title)
		}
		titles[p.Title] = true
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%s does not fit into the width: %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Description == "" {
			t.Errorf("%s has %d queries and the description %q", p.Title, len(p.Targets), p.Description)
		}
		refs := make(map[string]bool)
		for _, target := range p.Targets {
			if refs[target.RefID] || target.RefID == "" || target.Expr == "" {
				t.Errorf("%s: query %q: %q", p.Title, target.RefID, target.Expr)
			}
			refs[target.RefID] = true
		}
	}
}

// All data comes from the data source that the reader has chosen.
func TestDashboardDataSource(t *testing.T) {
	d := theDashboard(t)
	if v := d.Templating.List[0]; v.Name != "datasource" || v.Type != "datasource" || v.Query != "prometheus" {
		t.Errorf("the first variable is %+v", v)
	}
	check := func(what string, source *datasource) {
		if source == nil || *source != (datasource{"prometheus", "${datasource}"}) {
			t.Errorf("%s has the data source %+v", what, source)
		}
	}
	for _, v := range d.Templating.List[1:] {
		check("variable "+v.Name, v.Datasource)
	}
	for _, a := range d.Annotations.List {
		if a.Expr != "" {
			check("annotation "+a.Name, a.Datasource)
		}
	}
	for _, p := range d.Panels {
		if p.Type == "row" {
			continue
		}
		check(p.Title, p.Datasource)
		for _, target := range p.Targets {
			check(p.Title+" "+target.RefID, target.Datasource)
		}
	}
}

var variableUse = regexp.MustCompile(`\$\{?(\w+)`)

// Variables that are used exist, and the other way round.
func TestDashboardVariables(t *testing.T) {
	d := theDashboard(t)
	unused := []string{}
	for _, v := range d.Templating.List[1:] {
		unused = append(unused, v.Name)
	}
	defined := slices.Clone(unused)
	for name, expr := range d.expressions() {
		for _, m := range variableUse.FindAllStringSubmatch(expr, -1) {
			unused = slices.DeleteFunc(unused, func(v string) bool { return v == m[1] })
			if !slices.Contains(defined, m[1]) && m[1] != "__rate_interval" {
				t.Errorf("%s: no variable %s", name, m[1])
			}
		}
	}
	if len(unused) > 0 {
		t.Errorf("no panel uses %q", unused)
	}
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// Queries use only metrics, labels and words that the proxy has.
func TestDashboardUsesDocumentedMetrics(t *testing.T) {
	d, known := theDashboard(t), documented(t)
	for name, expr := range d.expressions() {
		found, _ := queryFaults(t, expr, known)
		for _, fault := range found {
			t.Errorf("%s: %s", name, fault)
		}
	}
	for _, v := range d.Templating.List[1:] {
		m := labelValues.FindStringSubmatch(d.queryOf(v))
		if m == nil {
			t.Errorf("variable %s: %q is no query for the values of a label", v.Name, d.queryOf(v))
			continue
		}
		found, labels := queryFaults(t, m[1], known)
		if len(found) > 0 || !slices.Contains(labels, m[2]) {
			t.Errorf("variable %s: %q, labels %q", v.Name, found, labels)
		}
	}
}

// Legends use labels that the query has.
func TestDashboardLegends(t *testing.T) {
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	known := documented(t)
	by := regexp.MustCompile(`\bby \(([^)]*)\)`)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			_, labels := queryFaults(t, target.Expr, known)
			if m := by.FindStringSubmatch(target.Expr); m != nil {
				labels = strings.Split(m[1], ", ")
			} else if strings.HasPrefix(target.Expr, "sum(") {
				labels = nil
			}
			for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(labels, m[1]) {
					t.Errorf("%s: the legend %q needs the label %s, the query has %q", p.Title, target.LegendFormat, m[1], labels)
				}
			}
		}
	}
}

// Prometheus parses each expression: as the rule of a recording, after Grafana has put in the
// variables.
func TestDashboardExpressionsParse(t *testing.T) {
	d := theDashboard(t)
	var b strings.Builder
	b.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for name, expr := range d.expressions() {
		n++
		expr = strings.ReplaceAll(expr, "$__rate_interval", "1m")
		fmt.Fprintf(&b, "  # %s\n  - {record: 'dashboard:%d', expr: '%s'}\n", name, n, variableUse.ReplaceAllString(expr, ".*"))
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", "--lint=none", file)
}
