package config

import (
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the expected files in testdata from what the package says")

// testEnv is the environment of every file in testdata.
func testEnv(name string) (string, bool) {
	value, ok := map[string]string{
		"NAME": "value", "EMPTY": "", "OFF": "false", "PORT": "5432", "PORTS": "x",
	}[name]
	return value, ok
}

// inputs returns the configuration files below testdata/dir.
func inputs(t testing.TB, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join("testdata", dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, name := range all {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() || strings.HasSuffix(name, ".err") || strings.HasSuffix(name, ".want") {
			continue
		}
		files = append(files, filepath.ToSlash(name))
	}
	if len(files) == 0 {
		t.Fatalf("no files in testdata/%s", dir)
	}
	return files
}

// Each file in testdata/bad holds one mistake; the exact text of its problems
// stands beside it.
func TestBadFiles(t *testing.T) {
	for _, name := range inputs(t, "bad") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			_, err := Load(name, testEnv)
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("error %v, want Problems", err)
			}
			got := err.Error() + "\n"
			golden := name + ".err"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

var comparePrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// Each file in testdata/good has its effective configuration beside it.
func TestGoodFiles(t *testing.T) {
	for _, name := range inputs(t, "good") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			got, err := Load(name, testEnv)
			if err != nil {
				t.Fatal(err)
			}
			golden := name + ".want"
			if *update {
				text, err := json.MarshalIndent(got, "", "\t")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, append(text, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			want := new(Config)
			if err := json.Unmarshal(text, want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, comparePrefix); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}
