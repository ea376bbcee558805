// Package testenv skips tests that need something the machine does not have.
//
// There are two kinds of needs:
//   - Tools, which scripts/setup-test-tools.sh installs. If one is missing, the test is skipped,
//     but with CI=true it fails, so that no check disappears unnoticed.
//   - Properties of the machine (root, capabilities, a newer kernel, io_uring), which the project
//     cannot install. If one is missing, the test is skipped everywhere, with the reason.
package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// toolDirs hold programs that Debian installs outside an ordinary user's PATH.
var toolDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/postgresql/*/bin"}

// NeedTool returns the path of the program name. If it is not installed, the test is skipped, or
// fails with CI=true.
func NeedTool(t testing.TB, name string) string {
	t.Helper()
	path, err := findTool(name)
	if err == nil {
		return path
	}
	reason := fmt.Sprintf("needs %s, which scripts/setup-test-tools.sh installs: %v", name, err)
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip(reason)
	return ""
}

func findTool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range toolDirs {
		// The only error of Glob is a malformed pattern.
		found, _ := filepath.Glob(filepath.Join(dir, name))
		if len(found) > 0 {
			// The newest of several PostgreSQL versions comes last.
			return found[len(found)-1], nil
		}
	}
	return "", err
}

// NeedRoot skips the test for any user but root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if uid := os.Geteuid(); uid != 0 {
		t.Skipf("needs root, runs as uid %d", uid)
	}
}

// NeedNetAdmin skips the test if it may not create network namespaces and change their routes and
// filters. In a container, even root may lack that permission.
func NeedNetAdmin(t testing.TB) {
	t.Helper()
	// Cloning a process into new namespaces is the only reliable check: seccomp may forbid what the
	// capabilities allow.
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		t.Skipf("needs to make network namespaces: %v", err)
	}
}

// NeedKernel skips the test on Linux older than major.minor.
func NeedKernel(t testing.TB, major, minor int) {
	t.Helper()
	gotMajor, gotMinor, err := kernelVersion()
	if err != nil {
		t.Fatalf("kernel version: %v", err)
	}
	if gotMajor < major || gotMajor == major && gotMinor < minor {
		t.Skipf("needs Linux %d.%d, runs on %d.%d", major, minor, gotMajor, gotMinor)
	}
}

func kernelVersion() (major, minor int, err error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return 0, 0, err
	}
	release := unix.ByteSliceToString(name.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("release %q: %w", release, err)
	}
	return major, minor, nil
}

// NeedIOURing skips the test if the io_uring engine cannot run: on Linux older than 6.1, or if
// io_uring_setup(2) is forbidden (by the sysctl kernel.io_uring_disabled or a seccomp profile).
func NeedIOURing(t testing.TB) {
	t.Helper()
	NeedKernel(t, 6, 1)
	if err := ioURing(); err != nil {
		t.Skipf("needs io_uring: io_uring_setup: %v", err)
	}
}

// ioURing makes a call that cannot succeed: without a parameter block, io_uring_setup(2) fails with
// EFAULT if it is allowed at all.
func ioURing() error {
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	if errors.Is(errno, unix.EFAULT) {
		return nil
	}
	return errno
}

// NeedSuite skips the test unless L4PROXY_SUITE names its suite, as "make peers" and "make faults"
// do.
func NeedSuite(t testing.TB, suite string) {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv("L4PROXY_SUITE"), ","), suite) {
		t.Skipf("part of make %s", suite)
	}
}
