package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the expected files in testdata from what the package says")

// testEnv is the environment of every file in testdata.
func testEnv(name string) (string, bool) {
	value, ok := map[string]string{
		"NAME": "value", "EMPTY": "", "OFF": "false", "PORT": "5432", "PORTS": "x", "ADMIN_TOKEN": "0123456789abcdef",
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

// Each file in testdata/bad holds one mistake; the exact text of its problems stands beside it.
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

// Each file in testdata/good has beside it what its configuration holds besides the defaults.
func TestGoodFiles(t *testing.T) {
	for _, name := range inputs(t, "good") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			c, err := Load(name, testEnv)
			if err != nil {
				t.Fatal(err)
			}
			c.File = "" // the test's, not the configuration's
			got := show(c)
			golden := name + ".want"
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
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

// show writes one line for each value that is not the default.
func show(c *Config) string {
	var b strings.Builder
	showValue(&b, "", reflect.ValueOf(c).Elem(), reflect.Value{})
	return b.String()
}

func showValue(b *strings.Builder, at string, v, deflt reflect.Value) {
	switch _, isStringer := v.Interface().(fmt.Stringer); {
	case v.Type() == reflect.TypeFor[*Source](), deflt.IsValid() && v.Kind() != reflect.Struct && reflect.DeepEqual(v.Interface(), deflt.Interface()):
	case isStringer || v.Type() == reflect.TypeFor[[]byte]():
		fmt.Fprintf(b, "%s = %s\n", at, v.Interface())
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			showValue(b, at, v.Elem(), reflect.Value{})
		}
	case v.Kind() == reflect.Slice:
		if v.Len() == 0 {
			fmt.Fprintf(b, "%s = []\n", at)
		}
		for i := range v.Len() {
			showValue(b, fmt.Sprintf("%s[%d]", at, i), v.Index(i), reflect.Value{})
		}
	case v.Kind() == reflect.Struct:
		if !deflt.IsValid() {
			deflt = reflect.New(v.Type()).Elem()
			if part, ok := deflt.Addr().Interface().(Part); ok {
				SetDefaults(part)
			}
		}
		for i := range v.NumField() {
			name := at + "." + v.Type().Field(i).Name
			showValue(b, strings.TrimPrefix(name, "."), v.Field(i), deflt.Field(i))
		}
	default:
		fmt.Fprintf(b, "%s = %#v\n", at, v.Interface())
	}
}
