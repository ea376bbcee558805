package sockopt

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Each check passes where the option works, and its error says what to do.
func TestChecks(t *testing.T) {
	if err := CheckCongestion("reno"); err != nil {
		t.Error(err)
	}
	for want, err := range map[string]error{
		`the kernel has no congestion control "no_such", only `:   CheckCongestion("no_such"),
		`or load the module: modprobe tcp_no_such`:                CheckCongestion("no_such"),
		`this machine has no network interface "no_such0": write`: CheckInterface("no_such0"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := CheckInterface("lo"); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_fastopen")
	if err != nil {
		t.Skip(err)
	}
	allowed := strings.TrimSpace(string(text)) >= "2"
	if err := CheckFastOpen(); (err == nil) != allowed {
		t.Errorf("net.ipv4.tcp_fastopen is %s: %v", text, err)
	}
}

// A socket of MPTCP falls back to TCP where the kernel has none.
func TestSocketFallsBack(t *testing.T) {
	for errno, want := range map[unix.Errno]bool{unix.EPROTONOSUPPORT: true, unix.ENOPROTOOPT: true, unix.EINVAL: true, unix.EMFILE: false, 0: false} {
		if got := noMultipath(errno); got != want {
			t.Errorf("%v: %v, want %v", errno, got, want)
		}
	}
	o := TCP{Multipath: true}
	fd, errno := o.Socket(unix.AF_INET, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer unix.Close(fd)
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if want := map[bool]int{true: unix.IPPROTO_MPTCP, false: unix.IPPROTO_TCP}[CheckMultipath() == nil]; err != nil || protocol != want {
		t.Errorf("protocol %d, %v, want %d", protocol, err, want)
	}
}
