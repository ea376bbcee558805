package testenv

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// outcome is what a Need function did to its test.
type outcome struct{ skipped, failed bool }

// recorder stands in for a test and records how it ended.
type recorder struct {
	testing.TB
	outcome
	message string
}

func (r *recorder) Helper() {}

func (r *recorder) Skip(args ...any)                  { r.skipped = true; r.stop(args) }
func (r *recorder) Skipf(format string, args ...any)  { r.skipped = true; r.stop(args) }
func (r *recorder) Fatal(args ...any)                 { r.failed = true; r.stop(args) }
func (r *recorder) Fatalf(format string, args ...any) { r.failed = true; r.stop(args) }

func (r *recorder) stop(args []any) {
	if len(args) > 0 {
		r.message, _ = args[0].(string)
	}
	runtime.Goexit()
}

// record runs need as a test would and returns how it ended.
func record(t *testing.T, need func(testing.TB)) *recorder {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		need(r)
	}()
	<-done
	return r
}

func TestNeedTool(t *testing.T) {
	const absent = "no-such-tool-anywhere"
	for _, test := range []struct {
		name, ci, tool string
		want           outcome
	}{
		{"present", "true", "sh", outcome{}},
		{"absent", "", absent, outcome{skipped: true}},
		{"absent in CI", "true", absent, outcome{failed: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("CI", test.ci)
			got := record(t, func(tb testing.TB) { NeedTool(tb, test.tool) })
			if got.outcome != test.want {
				t.Errorf("NeedTool(%q) with CI=%q: %+v, want %+v", test.tool, test.ci, got.outcome, test.want)
			}
			if test.tool == absent && !strings.Contains(got.message, absent) {
				t.Errorf("the reason %q does not name the tool", got.message)
			}
		})
	}
}

func TestFindToolTakesTheNewestVersion(t *testing.T) {
	root := t.TempDir()
	for _, version := range []string{"14", "15"} {
		dir := filepath.Join(root, version, "bin")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "versioned-tool"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	old := toolDirs
	defer func() { toolDirs = old }()
	toolDirs = []string{filepath.Join(root, "*", "bin")}

	got, err := findTool("versioned-tool")
	if want := filepath.Join(root, "15", "bin", "versioned-tool"); got != want || err != nil {
		t.Errorf("findTool = %q, %v, want %q", got, err, want)
	}
}

func TestNeedKernel(t *testing.T) {
	major, minor, err := kernelVersion()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name         string
		major, minor int
		want         outcome
	}{
		{"older major", major - 1, minor + 1, outcome{}},
		{"the same", major, minor, outcome{}},
		{"newer minor", major, minor + 1, outcome{skipped: true}},
		{"newer major", major + 1, 0, outcome{skipped: true}},
	} {
		got := record(t, func(tb testing.TB) { NeedKernel(tb, test.major, test.minor) })
		if got.outcome != test.want {
			t.Errorf("%s: NeedKernel(%d, %d) on %d.%d: %+v, want %+v",
				test.name, test.major, test.minor, major, minor, got.outcome, test.want)
		}
	}
}

func TestNeedRoot(t *testing.T) {
	want := outcome{skipped: os.Geteuid() != 0}
	if got := record(t, NeedRoot); got.outcome != want {
		t.Errorf("NeedRoot as uid %d: %+v, want %+v", os.Geteuid(), got.outcome, want)
	}
}

func TestNeedSuite(t *testing.T) {
	for _, test := range []struct {
		env  string
		want outcome
	}{
		{"", outcome{skipped: true}},
		{"faults", outcome{skipped: true}},
		{"peers", outcome{}},
		{"faults,peers", outcome{}},
	} {
		t.Setenv("L4PROXY_SUITE", test.env)
		got := record(t, func(tb testing.TB) { NeedSuite(tb, "peers") })
		if got.outcome != test.want {
			t.Errorf("L4PROXY_SUITE=%q: %+v, want %+v", test.env, got.outcome, test.want)
		}
	}
}
