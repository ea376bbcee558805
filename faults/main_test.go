// Package faults breaks things around a running proxy: descriptors, memory, the network, the
// process itself. Most tests run the real binary, built once. Tests that change machine-wide
// settings do so inside their own namespaces and control groups.
//
// "make faults" runs them; otherwise they are skipped. Each test says what it breaks and what has
// to keep working.
package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testenv"
)

func TestMain(m *testing.M) {
	if where := os.Getenv(backendEnv); where != "" {
		serveBackend(where)
		return
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// built is the binary under test.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// binaryEnv passes the binary to tests that run in a namespace.
const binaryEnv = "L4PROXY_FAULTS_BINARY"

// binary returns the path of l4proxy, built from this tree.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.path = os.Getenv(binaryEnv); built.path != "" {
			return
		}
		if built.dir, built.err = os.MkdirTemp("", "l4proxy-faults-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "l4proxy")
		out, err := exec.Command("go", "build", "-o", built.path, "l4proxy/cmd/l4proxy").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// namespaceEnv is set to the name of the test, in the process that runs it in its own network
// namespace.
const namespaceEnv = "L4PROXY_FAULTS_NAMESPACE"

// inNamespace reports whether the test runs in its own network namespace. If not, it runs the test
// there in another process, adopts its result, and the caller returns. The namespace, with all its
// rules and settings, ends with that process.
func inNamespace(t *testing.T) bool {
	t.Helper()
	testenv.NeedSuite(t, "faults")
	if os.Getenv(namespaceEnv) == t.Name() {
		tool(t, "ip", "link", "set", "lo", "up")
		return true
	}
	testenv.NeedNetAdmin(t)
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.timeout=60s", "-test.v", fmt.Sprintf("-test.short=%v", testing.Short()))
	cmd.Env = append(os.Environ(), namespaceEnv+"="+t.Name(), binaryEnv+"="+binary(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in its namespace: %v\n%s", err, out)
	}
	if bytes.Contains(out, []byte("--- SKIP")) {
		t.Skipf("in its namespace:\n%s", out)
	}
	t.Logf("in its namespace:\n%s", out)
	return false
}

// tool runs a program of the machine, which must succeed.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(testenv.NeedTool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// drop makes nftables drop incoming packets that match the rule.
func drop(t *testing.T, rule string) {
	t.Helper()
	tool(t, "nft", "add", "table", "inet", "faults")
	tool(t, "nft", "add", "chain", "inet", "faults", "in", "{ type filter hook input priority 0; }")
	tool(t, "nft", "add", "rule", "inet", "faults", "in", rule+" drop")
}

// setting writes to a file below /proc/sys.
func setting(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
		t.Skipf("cannot write %s: %v", name, err)
	}
}

// measure is the time over which a rate is measured.
const measure = time.Second
