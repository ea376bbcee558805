// Package testenv says what a test needs from the machine it runs on.
//
// Two kinds of need are told apart. A missing tool is a fault of the set-up,
// which scripts/setup-test-tools.sh mends: the test skips, but fails where the
// environment says CI=true, so that no check goes missing unseen. What the
// machine itself cannot give (root, capabilities, a newer kernel, io_uring)
// nobody can mend from inside: the test skips everywhere, with the reason.
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

// NeedTool returns the path of the program name. Where there is none, the test
// is skipped; with CI=true it fails.
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

// NeedNetAdmin skips the test where it may not make network namespaces of its
// own and change their routes and filters. In a container even root may not.
func NeedNetAdmin(t testing.TB) {
	t.Helper()
	// A process cloned into new namespaces is the direct question; the
	// capability sets do not tell about seccomp.
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		t.Skipf("needs to make network namespaces: %v", err)
	}
}

// NeedKernel skips the test on a Linux older than major.minor.
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

// NeedIOURing skips the test where the io_uring engine cannot run: on a Linux
// older than 6.1, and where the kernel forbids io_uring_setup(2) (the sysctl
// kernel.io_uring_disabled, a container's seccomp profile).
func NeedIOURing(t testing.TB) {
	t.Helper()
	NeedKernel(t, 6, 1)
	if err := ioURing(); err != nil {
		t.Skipf("needs io_uring: io_uring_setup: %v", err)
	}
}

// ioURing asks the kernel with a call that cannot succeed: without a parameter
// block io_uring_setup(2) fails with EFAULT where it is allowed at all.
func ioURing() error {
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	if errors.Is(errno, unix.EFAULT) {
		return nil
	}
	return errno
}

// NeedSuite skips a test that is not part of the fast suite unless its suite
// was asked for: "make peers" and "make faults" name theirs in L4PROXY_SUITE.
func NeedSuite(t testing.TB, suite string) {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv("L4PROXY_SUITE"), ","), suite) {
		t.Skipf("part of make %s", suite)
	}
}
