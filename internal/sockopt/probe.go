package sockopt

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// The checks find out whether a socket can have an option here. Their errors say what is missing
// and what to do. What cannot be found out is no error.

// netAdmin is how a process gets a capability.
const netAdmin = "run as root, or give the process CAP_NET_ADMIN (AmbientCapabilities= in the unit)"

// CheckCongestion tries an algorithm of congestion control.
func CheckCongestion(name string) error {
	errno := try(0, func(fd int) unix.Errno {
		return rawsys.SetString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
	})
	switch errno {
	case 0:
		return nil
	case unix.EPERM:
		return fmt.Errorf("congestion control %q is restricted: add it to the sysctl net.ipv4.tcp_allowed_congestion_control, or give the process CAP_NET_ADMIN", name)
	}
	known := strings.Join(strings.Fields(sysctl("net/ipv4/tcp_available_congestion_control")), ", ")
	return fmt.Errorf("the kernel has no congestion control %q, only %s: write one of them, or load the module: modprobe tcp_%s", name, known, name)
}

// CheckTransparent tries IP_TRANSPARENT.
func CheckTransparent() error {
	if errno := try(0, func(fd int) unix.Errno { return Transparent(fd, unix.AF_INET) }); errno != 0 {
		return fmt.Errorf("addresses of other machines require a capability: %w: %s", errno, netAdmin)
	}
	return nil
}

// CheckMark tries SO_MARK.
func CheckMark() error {
	if errno := try(0, func(fd int) unix.Errno { return rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 1) }); errno != 0 {
		return fmt.Errorf("tcp.mark requires a capability: %w: %s", errno, netAdmin)
	}
	return nil
}

// CheckInterface looks for a network interface, and tries SO_BINDTODEVICE.
func CheckInterface(name string) error {
	switch errno := try(0, func(fd int) unix.Errno { return rawsys.SetString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, name) }); errno {
	case 0:
		return nil
	case unix.ENODEV:
		return fmt.Errorf("this machine has no network interface %q: write the name of one that exists (ip link)", name)
	default:
		return fmt.Errorf("cannot bind to the network interface %q: %w: give the process CAP_NET_RAW", name, errno)
	}
}

// CheckMultipath tries a socket of MPTCP.
func CheckMultipath() error {
	switch errno := try(unix.IPPROTO_MPTCP, func(int) unix.Errno { return 0 }); {
	case errno == unix.ENOPROTOOPT:
		return fmt.Errorf("MPTCP is switched off: sysctl -w net.mptcp.enabled=1, or remove tcp.mptcp")
	case noMultipath(errno):
		return fmt.Errorf("this kernel has no MPTCP: use Linux 5.6 or newer with CONFIG_MPTCP, or remove tcp.mptcp")
	}
	return nil
}

// CheckFastOpen finds out whether the kernel accepts connections with TCP Fast Open (RFC 7413).
func CheckFastOpen() error {
	const server = 0x2 // net.ipv4.tcp_fastopen, Documentation/networking/ip-sysctl.rst in the kernel
	text := strings.TrimSpace(sysctl("net/ipv4/tcp_fastopen"))
	if v, err := strconv.ParseUint(text, 0, 32); err == nil && v&server == 0 {
		return fmt.Errorf("the kernel accepts no TCP Fast Open, because the sysctl net.ipv4.tcp_fastopen is %s: sysctl -w net.ipv4.tcp_fastopen=3, or remove tcp.fast_open", text)
	}
	return nil
}

// try calls f with a TCP socket that is then closed. A failure to make one is no error, except for
// a protocol that the kernel may lack.
func try(protocol int, f func(fd int) unix.Errno) unix.Errno {
	fd, errno := rawsys.Socket(unix.AF_INET, unix.SOCK_STREAM, protocol)
	switch {
	case errno != 0 && protocol != 0:
		return errno
	case errno != 0:
		return 0
	}
	defer rawsys.Close(fd)
	return f(fd)
}

// sysctl is the value of a kernel setting, "" if it cannot be read.
func sysctl(name string) string {
	text, _ := os.ReadFile("/proc/sys/" + name)
	return string(text)
}
