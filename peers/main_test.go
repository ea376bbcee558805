package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"l4proxy/internal/testenv"
)

// buildDir holds the program under test, once a test has built it.
var buildDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if buildDir != "" {
		if err := os.RemoveAll(buildDir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// program builds l4proxy once, as "make build" does, and returns its path.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "l4proxy-peers-")
	if err != nil {
		return "", err
	}
	buildDir = dir
	path := filepath.Join(dir, "l4proxy")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "l4proxy/cmd/l4proxy")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// eachEngine runs test once with each engine. The caller sets up what both share.
func eachEngine(t *testing.T, test func(t *testing.T, engine string)) {
	t.Helper()
	if _, err := program(); err != nil {
		t.Fatal(err)
	}
	t.Run("io_uring", func(t *testing.T) {
		testenv.NeedIOURing(t)
		test(t, "io_uring")
	})
	t.Run("epoll", func(t *testing.T) { test(t, "epoll") })
}
