package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every value of the full form can be shown, so that no change of one goes unnoticed. The ACL, the
// listeners and the pools are compared by code of their own.
func TestEveryValueCanBeShown(t *testing.T) {
	for at, fs := range sections() {
		if at == "listeners.NAME.acl" {
			continue
		}
		for _, f := range fs {
			_, later := f.value.(unsupported)
			_, isShown := f.value.(shown)
			_, isPart := f.value.(interface{ fields() fields })
			if !later && !isShown && !isPart {
				t.Errorf("%s of %q cannot be shown: give its value, a %T, the method current", f.key, at, f.value)
			}
		}
	}
}

const before = `
log: {level: info}
listeners:
  web:
    bind: 127.0.0.1:8080
    pool: web
    acl: [{deny: 10.0.0.13}, {allow: [10.0.0.0/8, 192.168.0.0/16]}]
    timeouts: {idle: 1h}
  old: {bind: "127.0.0.1:8081", pool: web}
pools:
  web:
    backends: [10.0.0.5:80, {address: "10.0.0.6:80", weight: 2}, 10.0.0.7:80]
    health: {interval: 2s}
  gone: {backends: [10.0.0.5:80]}
`

func TestDifferences(t *testing.T) {
	for _, test := range []struct {
		name string
		edit []string // old and new texts
		want []string
	}{
		{"nothing", nil, nil},
		{"a default written out", []string{"timeouts: {idle: 1h}", "timeouts: {idle: 60m, half_close: 1m}"}, nil},
		{"a value", []string{"idle: 1h", "idle: 90m"}, []string{"listener web: timeouts.idle: 1h -> 1h30m"}},
		{"a value of the process", []string{"level: info", "level: debug"}, []string{"process: log.level: info -> debug"}},
		{"auto", []string{"log: {", "workers: 3\nlog: {"}, []string{"process: workers: auto -> 3"}},
		{"a list", []string{"bind: 127.0.0.1:8080", "bind: [127.0.0.1:8080, \"[::1]:9000-9010\"]"},
			[]string{"listener web: bind: [127.0.0.1:8080] -> [127.0.0.1:8080, [::1]:9000-9010]"}},
		{"off", []string{"idle: 1h", "half_close: off"}, []string{"listener web: timeouts.half_close: 1m -> off"}},
		{"a listener added and one removed", []string{"old: {", "new: {"},
			[]string{"listener new: added 127.0.0.1:8081 -> pool web", "listener old: removed 127.0.0.1:8081 -> pool web"}},
		{"a pool removed", []string{"  gone: {backends: [10.0.0.5:80]}\n", ""}, []string{"pool gone: removed 1 backend"}},
		{"a backend removed and one added", []string{"10.0.0.7:80", `{address: "10.0.0.8:80", backup: true}`},
			[]string{"backend web 10.0.0.8:80: added {backup: true}", "backend web 10.0.0.7:80: removed {}"}},
		{"a key of a backend", []string{"weight: 2", "weight: 3, max_connections: 10"},
			[]string{"backend web 10.0.0.6:80: weight: 2 -> 3", "backend web 10.0.0.6:80: max_connections:  -> 10"}},
		{"backends in another order", []string{"10.0.0.5:80, {", "{", "10.0.0.7:80]", "10.0.0.7:80, 10.0.0.5:80]"}, nil},
		{"health checks removed", []string{"health: {interval: 2s}", "slow_start: 5s"},
			[]string{"pool web: health: {fast_interval: 500ms} -> ", "pool web: slow_start: 0s -> 5s"}},
		{"a key of health checks", []string{"interval: 2s", "interval: 2s, type: http, path: /healthz"}, []string{
			"pool web: health.type: tcp -> http", "pool web: health.method:  -> GET", "pool web: health.path:  -> /healthz",
			"pool web: health.status:  -> [200-399]",
		}},
		{"an optional section added", []string{"health: {interval: 2s}", "health: {interval: 2s}\n    outlier: {eject: 1m, max_ejected: 20%}"},
			[]string{"pool web: outlier:  -> {eject: 1m, max_ejected: 20%}"}},
		{"a rate", []string{"health: {interval: 2s}", "health: {interval: 2s}\n    rebalance: {rate: 30/m}"},
			[]string{"pool web: rebalance:  -> {rate: 30/m}"}},
		{"an entry of a rule", []string{"192.168.0.0/16", "172.16.0.0/12, 10.1.1.1"},
			[]string{"rule web allow[1]: clients: 192.168.0.0/16 -> 172.16.0.0/12, 10.1.1.1"}},
		{"what a denied client sees", []string{"{deny: 10.0.0.13}", "{deny: 10.0.0.13, with: reset}"},
			[]string{"rule web deny[0]: with: message -> reset"}},
		{"a rule added in front", []string{"acl: [", "acl: [{deny: 10.9.0.0/16}, "}, []string{"rule web deny[0]: added deny 10.9.0.0/16"}},
		{"rules in another order", []string{"{deny: 10.0.0.13}, {allow: [10.0.0.0/8, 192.168.0.0/16]}", "{allow: [10.0.0.12, 192.168.0.0/16]}, {deny: 10.0.0.13}"},
			[]string{"rule web allow[1]: removed allow 10.0.0.0/8, 192.168.0.0/16", "rule web allow[0]: added allow 10.0.0.12, 192.168.0.0/16"}},
		{"the default of an acl", []string{", {allow: [10.0.0.0/8, 192.168.0.0/16]}", ""}, []string{
			"rule web allow[1]: removed allow 10.0.0.0/8, 192.168.0.0/16", "listener web: acl default: deny -> allow"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			after := before
			for i := 0; i+1 < len(test.edit); i += 2 {
				if !strings.Contains(after, test.edit[i]) {
					t.Fatalf("no %q to edit", test.edit[i])
				}
				after = strings.Replace(after, test.edit[i], test.edit[i+1], 1)
			}
			if diff := cmp.Diff(test.want, differences(t, before, after)); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
		})
	}
}

// A list file counts by its content, and rules that only swap are in another order.
func TestDifferencesOfListsAndOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list.txt")
	text := fmt.Sprintf(`
listeners: {web: {bind: ":80", acl: [{deny: "file:%s"}, {deny: 10.0.0.1}]}}
pools: {web: {backends: [10.0.0.5:80]}}`, file)
	write := func(content string) *Config {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return parseConfig(t, text)
	}
	old, next := write("10.1.0.0/16\n10.2.0.0/16\n"), write("10.2.0.0/16\n10.3.0.0/16\n10.3.0.0/16\n10.4.0.0/16\n")
	want := []string{"list " + file + ": entries: 2 -> 4 (2 added, 1 removed)"}
	if diff := cmp.Diff(want, inLines(Differences(old, next))); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	swapped := parseConfig(t, fmt.Sprintf(`
listeners: {web: {bind: ":80", acl: [{deny: 10.0.0.1}, {deny: "file:%s"}]}}
pools: {web: {backends: [10.0.0.5:80]}}`, file))
	want = []string{"listener web: acl: the order of the rules -> another order"}
	if diff := cmp.Diff(want, inLines(Differences(next, swapped))); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

// A secret is not shown, whatever its section.
func TestSecretsAreNotShown(t *testing.T) {
	var a, b = struct{ token string }{"old-password"}, struct{ token string }{"new-password"}
	d := new(differ)
	d.table("admin.", fields{{"token", text(&a.token, "a text"), ""}}, fields{{"token", text(&b.token, "a text"), ""}})
	if got, want := fmt.Sprint(d.found), "[{   admin.token (hidden) (hidden)}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := (fields{{"token", text(&a.token, "a text"), ""}}).current(); got != "{token: (hidden)}" {
		t.Errorf("got %s", got)
	}
}

// A difference of long values is cut: 10,000 addresses are no line.
func TestLongValuesAreCut(t *testing.T) {
	long := strings.Repeat("10.0.0.0/8, ", 1000) + "10.0.0.1"
	got := differences(t, before, strings.Replace(before, "deny: 10.0.0.13", "deny: ["+long+"]", 1))
	if len(got) != 1 || len(got[0]) > 2*maxShown {
		t.Errorf("got %d bytes in %d lines", len(strings.Join(got, "")), len(got))
	}
}

func TestLoadFilesReportsFiles(t *testing.T) {
	dir := t.TempDir()
	main, list, missing := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "a.txt"), filepath.Join(dir, "missing.txt")
	writeAll := func(acl string) {
		text := "listeners: {web: {bind: \":80\", acl: [{deny: [" + acl + "]}]}}\npools: {web: {backends: [10.0.0.5:80]}}\n"
		for name, content := range map[string]string{main: text, list: "10.0.0.0/8\n"} {
			if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	writeAll(`"file:a.txt"`)
	_, files, err := LoadFiles(main, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]File{ReadFile(main), ReadFile(list)}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if files[0].Sum == files[1].Sum || files[0].Sum == (File{}).Sum {
		t.Errorf("sums: %x", files)
	}
	writeAll(`"file:missing.txt", "file:a.txt"`)
	if _, files, err = LoadFiles(main, nil); err == nil {
		t.Error("no error for a missing list")
	}
	if diff := cmp.Diff([]File{ReadFile(main), {Name: missing}, ReadFile(list)}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if _, files, err = LoadFiles(missing, nil); err == nil || len(files) != 1 || files[0] != (File{Name: missing}) {
		t.Errorf("of a missing file: %v, error %v", files, err)
	}
}

func differences(t *testing.T, old, next string) []string {
	t.Helper()
	return inLines(Differences(parseConfig(t, old), parseConfig(t, next)))
}

func parseConfig(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("c.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func inLines(all []Difference) (lines []string) {
	for _, d := range all {
		line := strings.TrimRight(strings.Join([]string{d.Part, d.Name, d.Item}, " "), " ") + ": "
		switch {
		case d.Key != "":
			line += d.Key + ": " + d.Old + " -> " + d.New
		case d.Old == "":
			line += "added " + d.New
		default:
			line += "removed " + d.Old
		}
		lines = append(lines, line)
	}
	return lines
}
